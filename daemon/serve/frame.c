/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/frame.h"

#include <stddef.h>

static const char *const texts[PP_N_ENDS] = {
	[PP_END_OUTERMOST] = "complete",
	[PP_END_ZERO] = "complete",
	[PP_END_TRUNCATED] = "truncated",
	[PP_END_NO_MAPPING] = "broken: NO_MAPPING",
	[PP_END_GAP] = "broken: GAP",
	[PP_END_NO_TABLE] = "broken: NO_TABLE",
	[PP_END_BAD_CFA] = "broken: UNSUPPORTED_RULE",
	[PP_END_BAD_FRAME_POINTER] = "broken: FRAME_POINTER",
	[PP_END_UNREADABLE] = "broken: UNREADABLE_STACK",
	[PP_END_LEAF_REGISTER] = "broken: LOST_REGISTER",
	[PP_END_BACKWARDS] = "broken: STACK_POINTER",
	[PP_END_EXEC] = "broken: EXEC",
	[PP_END_NO_SCRATCH] = "broken: NO_SCRATCH",
	[PP_END_TABLE_FULL] = "broken: STACK_TABLE_FULL",
	[PP_END_OTHER] = "other",
	[PP_END_BEFORE] = "allocated before pprofd attached",
	[PP_END_BY_HASH] = "broken: STACK_FORGOTTEN",
	[PP_END_ANOTHER] = "another process",
	[PP_END_RUNNING] = "running",
	[PP_END_CREATED_BEFORE] = "created before pprofd attached",
};

const char *frame_end_text(unsigned end)
{
	return end < PP_N_ENDS && texts[end] ? texts[end] : "broken";
}

bool frame_end_truncated(unsigned end)
{
	return end == PP_END_TRUNCATED;
}
