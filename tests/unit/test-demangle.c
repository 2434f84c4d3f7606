/* SPDX-License-Identifier: Apache-2.0 */

/* The expected simple forms are what `go tool pprof` of Go 1.26 printed for these names, except
 * where a comment says so. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "symbolizer/demangle.h"

struct claim {
	const char *name, *shown;
};

static void expect(const struct claim *c, enum symbolizer_demangle how)
{
	char to[SYMBOLIZER_MAX_NAME + 1];
	size_t n = demangle(c->name, how, to);

	if (strcmp(to, c->shown))
		fail_msg("%s: %s instead of %s", c->name, to, c->shown);
	assert_int_equal(n, strlen(c->shown));
}

#define EXPECT_ALL(claims, how)                                                                    \
	for (size_t i = 0; i < sizeof(claims) / sizeof(*(claims)); i++)                            \
	expect(&(claims)[i], how)

static void test_no_parameters_and_no_template_arguments(void **state)
{
	static const struct claim claims[] = {
		{ "main", "main" },
		{ "_Z3fooi", "foo" },
		{ "_ZN3ns13fooERKSs", "ns1::foo" },
		{ "_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector::push_back" },
		{ "_ZNKSt6vectorIS_IiSaIiEESaIS1_EE4sizeEv", "std::vector::size" },
		{ "_ZSt4sortIPiEvT_S1_", "std::sort" },
		{ "_ZN1AC1IdEET_", "A::A" },
		{ "_ZN1AD0Ev", "A::~A" },
		{ "_ZNSt12__shared_ptrIKiLN9__gnu_cxx12_Lock_policyE2EEC4EOS3_",
		  "std::__shared_ptr::__shared_ptr" },
		{ "_ZThn16_N1D1qESt6vectorIiSaIiEE", "non-virtual thunk to D::q(std::vector)" },
		{ "_ZTV1A", "vtable for A" },
	};

	EXPECT_ALL(claims, DEMANGLE_SIMPLE);
}

static void test_operators_keep_their_symbols(void **state)
{
	static const struct claim claims[] = {
		{ "_ZNK1AltIiEEbRKT_", "A::operator<" },
		{ "_ZN1AlsIiEERS_T_", "A::operator<<" },
		{ "_ZN1AlSIiEERS_T_", "A::operator<<=" },
		{ "_ZN1AleIiEEbT_", "A::operator<=" },
		{ "_ZNK1AssERKS_", "A::operator<=>" },
		{ "_ZN1AgtIdEEbT_", "A::operator>" },
		{ "_ZN1ArsIiEES_T_", "A::operator>>" },
		{ "_ZN1ArSIiEERS_T_", "A::operator>>=" },
		{ "_ZN1AgeEi", "A::operator>=" },
		{ "_ZN1AptEv", "A::operator->" },
		{ "_ZN1ApmEi", "A::operator->*" },
		{ "_ZNO1AclIiEEiT_", "A::operator()" },
		{ "_ZN1AixESt6vectorIiSaIiEE", "A::operator[]" },
		{ "_ZNK1AcvbEv", "A::operator bool" },
		{ "_ZNK1AcvPT_IcEEv", "A::operator char*" },
		{ "_ZN1AcvSt3mapIiSsSt4lessIiESaISt4pairIKiSsEEEEv", "A::operator std::map" },
		{ "_Zli3_kmy", "operator\"\" _km" },
		{ "_ZN1A2tfIXadL_ZNS_geEiEEEEvv", "A::tf" },
		{ "_ZN2FPIXadL_Zgt1AiEEE1mEv", "FP::m" },
		{ "_ZN9__gnu_cxxltIPiSt6vectorIiSaIiEEEEbRKNS_17__normal_iteratorIT_T0_EESA_",
		  "__gnu_cxx::operator<" },
	};

	EXPECT_ALL(claims, DEMANGLE_SIMPLE);
}

static void test_lambdas_and_local_names(void **state)
{
	static const struct claim claims[] = {
		{ "_ZZ4mainENKUlvE_clEv", "main::{lambda()#1}::operator()" },
		{ "_ZZ1fiENKUlSt6vectorIiSaIiEEE0_clES1_",
		  "f()::{lambda(std::vector)#2}::operator()" },
		{ "_ZZN12_GLOBAL__N_14Anon2goIiEEvT_ENK1L3runESs",
		  "(anonymous namespace)::Anon::go()::L::run" },
		{ "_ZZNK1A1fEiE1x", "A::f() const::x" },
		{ "_ZN12_GLOBAL__N_11fEv", "(anonymous namespace)::f" },
		{ "_ZN2ns6taggedB5cxx11Ei", "ns::tagged[abi:cxx11]" },
		/* libiberty alone would say ...::vector */
		{ "_ZZ2mkSt6vectorIiSaIiEEiENUliE_C2EOS2_",
		  "mk()::{lambda(int)#1}::{lambda(int)#1}" },
	};

	EXPECT_ALL(claims, DEMANGLE_SIMPLE);
}

static void test_clones_look_like_their_origin(void **state)
{
	static const struct claim claims[] = {
		{ "_Z3foov.cold", "foo" },
		{ "_ZN1A3barEi.part.0.isra.0", "A::bar" },
		{ "_ZN1A3barEi.llvm.1234567890", "A::bar" },
		{ "c_function.cold", "c_function.cold" },
		{ "c_function.constprop.0", "c_function.constprop.0" },
	};

	EXPECT_ALL(claims, DEMANGLE_SIMPLE);
}

static void test_rust(void **state)
{
	static const struct claim claims[] = {
		{ "_ZN4core3ptr13drop_in_place17h0123456789abcdefE", "core::ptr::drop_in_place" },
		{ "_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop"
		  "17h0123456789abcdefE.llvm.99",
		  "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop" },
		{ "_ZN3foo17h0000000000000000E", "foo::h0000000000000000" }, /* C++ */
		{ "_RNvCs6xxl1lAjzDf_1a4dynf", "a::dynf" },
		{ "_RNCNvCs6xxl1lAjzDf_1a4main0B3_", "a::main::{closure#0}" },
		{ "_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeNtNtCslNYArtu3iFV_5alloc6string6"
		  "StringECs6xxl1lAjzDf_1a",
		  "core::ptr::drop_in_place::<>" },
		{ "_RNvMs_NtCs1_3std3vecINtB4_3VechE4push", "<std::vec::Vec<>>::push" },
		{ "_RNvXCs1_1aINtB2_2SqKj3_Atj4_ENtB2_5Shape4area", "<a::Sq<> as a::Shape>::area" },
		{ "_RNvYDNtCs1_1a4Iterp4ItemhEL_NtB5_4Iter4next",
		  "<dyn a::Iter<Item = u8> as a::Iter>::next" },
		{ "_RNvYFG_RL0_hEuNtCs1_1a1T1m", "<for<'a> fn(&'a u8) as a::T>::m" },
		{ "_RNvNtNtCs6xxl1lAjzDf_1au6t_9fab5inneru9gre_6ka8i",
		  "a::\xc3\xa9t\xc3\xa9::inner::gr\xc3\xb6\xc3\x9f"
		  "e" },
	};

	EXPECT_ALL(claims, DEMANGLE_SIMPLE);
}

static void test_full_and_none(void **state)
{
	static const struct claim full[] = {
		{ "_ZNSt6vectorIiSaIiEE9push_backERKi",
		  "std::vector<int, std::allocator<int> >::push_back(int const&)" },
		{ "_Z3foov.cold", "foo()" },
		{ "_ZZ1fiENKUlvE_clEv", "f(int)::{lambda()#1}::operator()() const" },
		{ "_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placehE",
		  "core::ptr::drop_in_place::<u8>" },
		{ "main", "main" },
	};
	static const struct claim none[] = {
		{ "_Z3foov.cold", "_Z3foov.cold" },
		{ "main", "main" },
	};

	EXPECT_ALL(full, DEMANGLE_FULL);
	EXPECT_ALL(none, DEMANGLE_NONE);
}

/* Those of names.c, where DWARF has no linkage name. */
static void test_plain_names(void **state)
{
	static const struct claim claims[] = {
		{ "std::sort<int*, ns::f(int)::<lambda(int, int)> >", "std::sort" },
		{ "ns::{anonymous}::f", "ns::(anonymous namespace)::f" },
		{ "f::{lambda}::operator()<long int>", "f::{lambda}::operator()" },
		{ "operator<< <char>", "operator<<" },
		{ "Box<std::pair<int, char> >::~Box", "Box::~Box" },
		{ "Foo.<init>", "Foo.<init>" },
		{ "main.(*T[...]).Method", "main.(*T[...]).Method" },
		{ "a < b", "a " },
	};

	EXPECT_ALL(claims, DEMANGLE_SIMPLE);
}

static void test_names_that_only_look_mangled(void **state)
{
	static const struct claim claims[] = {
		{ "", "" },	      { "_", "_" },	    { "_Z", "_Z" },
		{ "_ZN", "_ZN" },     { "_R", "_R" },	    { "_Zebra", "_Zebra" },
		{ "_Rest", "_Rest" }, { "_ZN1A", "_ZN1A" }, { "_Z99999999999f", "_Z99999999999f" },
	};

	EXPECT_ALL(claims, DEMANGLE_SIMPLE);
	EXPECT_ALL(claims, DEMANGLE_FULL);
}

static void test_output_is_clean_and_bounded(void **state)
{
	char to[SYMBOLIZER_MAX_NAME + 1], name[3 * SYMBOLIZER_MAX_NAME];
	static const struct claim claims[] = {
		{ "a\nb\x01", "a?b?" },
		{ "\xff\xc3\xa9", "?\xc3\xa9" },
	};

	EXPECT_ALL(claims, DEMANGLE_SIMPLE);
	EXPECT_ALL(claims, DEMANGLE_NONE);
	memset(name, 'x', sizeof(name));
	name[SYMBOLIZER_MAX_NAME - 1] = '\xc3'; /* a character across the bound */
	name[SYMBOLIZER_MAX_NAME] = '\xa9';
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(demangle(name, DEMANGLE_SIMPLE, to), SYMBOLIZER_MAX_NAME - 1);
	assert_int_equal(to[SYMBOLIZER_MAX_NAME - 2], 'x');
}

/* What a short name can mean without end, and what recurses; each has to come back, soon. */
static void test_hostile_names(void **state)
{
	static const struct {
		const char *head, *repeat, *tail;
	} names[] = {
		{ "_Z1f", "P", "" },
		{ "_Z", "N", "" },
		{ "_Z", "1fI", "" },
		{ "_Z1fIX", "ng", "Li1EEEvv" },
		{ "_Z", "Z1f", "" },
		{ "_ZN", "UlvE_", "E" },
		{ "_Z1fI", "1aIiE", "Ev" },
		{ "_Z1fIiEv", "RT_", "" },
		{ "_R", "Nv", "C1a" },
		{ "_RMC1a", "R", "u" },
		{ "_RMC1a", "T", "" },
		{ "_RMINvC1a1b", "FGZ_", "EC1c" },
		/* binders that count to 62^8, one of them where nothing is printed */
		{ "_RMC1aFGzzzzzzzz_Eu", "", "NvC1a1b" },
		{ "_RMINvC1a1bFGzzzzzzzz_EuE", "", "C1c" },
	};
	static char name[64 * 1024];
	char to[SYMBOLIZER_MAX_NAME + 1];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		for (size_t n = 1000; n < sizeof(name) - 100; n *= 2) {
			size_t at = (size_t)sprintf(name, "%s", names[i].head);

			while (at < n && *names[i].repeat)
				at += (size_t)sprintf(name + at, "%s", names[i].repeat);
			sprintf(name + at, "%s", names[i].tail);
			assert_true(demangle(name, DEMANGLE_SIMPLE, to) <= SYMBOLIZER_MAX_NAME);
			assert_true(demangle(name, DEMANGLE_FULL, to) <= SYMBOLIZER_MAX_NAME);
		}
}

/* Each argument twice the one before: 2^n characters of n. */
static void test_names_that_double(void **state)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char name[2048] = "_Z1f1aIiiE", to[SYMBOLIZER_MAX_NAME + 1];
	size_t at = strlen(name);

	for (unsigned i = 0; i < 100; i++) {
		char id[4] = { 0 };

		if (i < 36)
			id[0] = digits[i];
		else
			sprintf(id, "%c%c", digits[i / 36], digits[i % 36]);
		at += (size_t)sprintf(name + at, "S_IS%s_S%s_E", id, id);
	}
	assert_int_equal(demangle(name, DEMANGLE_SIMPLE, to), 1);
	assert_string_equal(to, "f");
	assert_int_equal(demangle(name, DEMANGLE_FULL, to), SYMBOLIZER_MAX_NAME);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_parameters_and_no_template_arguments),
		cmocka_unit_test(test_operators_keep_their_symbols),
		cmocka_unit_test(test_lambdas_and_local_names),
		cmocka_unit_test(test_clones_look_like_their_origin),
		cmocka_unit_test(test_rust),
		cmocka_unit_test(test_full_and_none),
		cmocka_unit_test(test_plain_names),
		cmocka_unit_test(test_names_that_only_look_mangled),
		cmocka_unit_test(test_output_is_clean_and_bounded),
		cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_names_that_double),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
