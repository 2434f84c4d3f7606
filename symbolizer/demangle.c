/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/demangle.h"

#include <ctype.h>
#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

/* Longer names pass as they are. */
#define MAX_MANGLED 8192
/* A substitution may repeat what repeats another one: a short name can mean a text without end. */
#define MAX_TEXT (64 * 1024)
#define MAX_PIECES 65536
#define MAX_NODES 8192
#define V0_MAX_DEPTH 512
/* libiberty's printer keeps 16 bytes x templates x references to template parameters on the
 * stack, either counted at most twice: this makes 1 MiB. */
#define MAX_TEMPLATE_COPIES 16384

struct text {
	size_t n, n_pieces;
	jmp_buf full;
	char data[MAX_TEXT + 1];
};

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '$';
}

static bool has_prefix(const char *s, size_t n, const char *prefix)
{
	size_t k = strlen(prefix);

	return n >= k && !memcmp(s, prefix, k);
}

static void on_text(const char *data, size_t n, void *context)
{
	struct text *t = context;
	bool ascii = true;

	for (size_t i = 0; i < n && ascii; i++)
		ascii = !(data[i] & 0x80);
	if (n > MAX_TEXT - t->n)
		n = MAX_TEXT - t->n;
	if (n)
		memcpy(t->data + t->n, data, n);
	t->n += n;
	/* libiberty has no other way to stop. Its printers own no memory while they call back,
	 * but for the one that decodes punycode, whose text is never plain ASCII. */
	if ((++t->n_pieces > MAX_PIECES || t->n == MAX_TEXT) && ascii)
		longjmp(t->full, 1);
}

static bool print_tree(struct demangle_component *tree, int options, struct text *t)
{
	if (setjmp(t->full))
		return true; /* the beginning is better than nothing */
	return cplus_demangle_print_callback(options, tree, on_text, t);
}

static bool print_v3(const char *name, int options, struct text *t)
{
	t->n = t->n_pieces = 0;
	if (setjmp(t->full))
		return true;
	return cplus_demangle_v3_callback(name, options, on_text, t);
}

static bool print_rust(const char *name, struct text *t)
{
	if (setjmp(t->full))
		return true;
	return rust_demangle_callback(name, 0, on_text, t);
}

/* How many children of a node of libiberty's tree can be part of a name; d_dump in GCC's
 * cp-demangle.c knows all kinds. */
#define N(kind, n) [DEMANGLE_COMPONENT_##kind] = n
/* clang-format off */
static const unsigned char n_children[] = {
	N(LOCAL_NAME, 2), N(QUAL_NAME, 2), N(TYPED_NAME, 2), N(FUNCTION_TYPE, 2), N(ARGLIST, 2),
	N(CONSTRUCTION_VTABLE, 2), N(TEMPLATE, 1), N(TAGGED_NAME, 1), N(LAMBDA, 1),
	N(DEFAULT_ARG, 1), N(VTABLE, 1), N(VTT, 1), N(TYPEINFO, 1), N(TYPEINFO_NAME, 1),
	N(THUNK, 1), N(VIRTUAL_THUNK, 1), N(COVARIANT_THUNK, 1), N(GUARD, 1), N(TLS_INIT, 1),
	N(TLS_WRAPPER, 1), N(REFTEMP, 1), N(CONST, 1), N(CONST_THIS, 1), N(VOLATILE_THIS, 1),
	N(REFERENCE_THIS, 1), N(RVALUE_REFERENCE_THIS, 1), N(POINTER, 1), N(REFERENCE, 1),
	N(RVALUE_REFERENCE, 1), N(CONVERSION, 1),
};
/* clang-format on */
#undef N

static struct demangle_component *child(const struct demangle_component *c, unsigned i)
{
	if ((size_t)c->type >= sizeof(n_children) || i >= n_children[c->type])
		return NULL;
	return i ? c->u.s_binary.right : c->u.s_binary.left;
}

/* libiberty names a constructor after the last identifier it read, which is wrong where that was
 * in the parameters of a lambda or in the class that is inherited from. */
static void name_constructor(struct demangle_component *qualified)
{
	struct demangle_component *c = qualified->u.s_binary.right;
	struct demangle_component *last = qualified->u.s_binary.left;

	while (last && (last->type == DEMANGLE_COMPONENT_TEMPLATE ||
			last->type == DEMANGLE_COMPONENT_TAGGED_NAME ||
			last->type == DEMANGLE_COMPONENT_QUAL_NAME))
		last = last->type == DEMANGLE_COMPONENT_QUAL_NAME ? last->u.s_binary.right :
								    last->u.s_binary.left;
	if (!c || !last || last->type == DEMANGLE_COMPONENT_SUB_STD)
		return;
	if (c->type == DEMANGLE_COMPONENT_CTOR)
		c->u.s_ctor.name = last;
	else if (c->type == DEMANGLE_COMPONENT_DTOR)
		c->u.s_dtor.name = last;
}

/* f(int)::{lambda()#1} becomes f()::{lambda()#1}: the function around a local name keeps its
 * parentheses and loses what is in them. */
static void drop_enclosing_parameters(struct demangle_component *local)
{
	struct demangle_component *f = local->u.s_binary.left;

	if (!f || f->type != DEMANGLE_COMPONENT_TYPED_NAME)
		return;
	f = f->u.s_binary.right;
	while (f && f->type != DEMANGLE_COMPONENT_FUNCTION_TYPE)
		f = child(f, 0);
	if (f)
		f->u.s_binary.left = f->u.s_binary.right = NULL;
}

static void simplify_tree(struct demangle_component *tree)
{
	struct demangle_component *todo[256] = { tree }, *next;
	size_t n = 1, budget = MAX_NODES;

	while (n && budget--) {
		struct demangle_component *c = todo[--n];

		if (c->type == DEMANGLE_COMPONENT_LOCAL_NAME)
			drop_enclosing_parameters(c);
		if (c->type == DEMANGLE_COMPONENT_QUAL_NAME)
			name_constructor(c);
		for (unsigned i = 2; i-- > 0;) {
			next = child(c, i);
			if (next && n < sizeof(todo) / sizeof(todo[0]))
				todo[n++] = next;
		}
	}
}

/* Length of an operator's symbol that holds angle brackets or parentheses, at `s`, which stands
 * behind the word "operator". Longest first: where template arguments follow a symbol that ends
 * in '<', libiberty writes a blank between. */
static size_t operator_symbol(const char *s, size_t n)
{
	static const char *const symbols[] = { "<=>", "<<=", "<<", "<=",  "<",	">>=",
					       ">>",  ">=",  ">",  "->*", "->", "()" };

	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++)
		if (has_prefix(s, n, symbols[i]))
			return strlen(symbols[i]);
	return 0;
}

/* Length of "operator" with such a symbol at position i; 0: it is something else. */
static size_t operator_at(const char *s, size_t n, size_t i)
{
	size_t k;

	if (s[i] != 'o' || !has_prefix(s + i, n - i, "operator") || (i && is_word(s[i - 1])))
		return 0;
	k = operator_symbol(s + i + 8, n - i - 8);
	return k ? 8 + k : 0;
}

/* The position behind the '>' that closes the '<' at i; n when nothing does. Inside of other
 * brackets a '>' may be an operator of an expression: those are skipped whole. */
static size_t close_angle(const char *s, size_t n, size_t i)
{
	size_t angles = 0, others = 0;

	for (; i < n; i++) {
		size_t k;

		if (s[i] != 'o' && is_word(s[i])) /* most of a name */
			continue;
		k = operator_at(s, n, i);
		if (k) {
			i += k - 1;
		} else if (strchr("([{", s[i])) {
			others++;
		} else if (strchr(")]}", s[i])) {
			others -= others > 0;
		} else if (others || (s[i] == '>' && s[i - 1] == '-')) {
			continue;
		} else if (s[i] == '<') {
			angles++;
		} else if (s[i] == '>' && !--angles) {
			return i + 1;
		}
	}
	return n;
}

static size_t drop_template_arguments(char *s, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n;) {
		size_t k = operator_at(s, n, i);

		if (!k && s[i] == '<' && !(out >= 7 && !memcmp(s + out - 7, "{lambda", 7))) {
			if (out > 1 && s[out - 1] == ' ' && s[out - 2] == '<')
				out--;
			i = close_angle(s, n, i);
			continue;
		}
		for (k = k ? k : 1; k; k--)
			s[out++] = s[i++];
	}
	return out;
}

/* Of the generic arguments in [s, end) only what names an associated type is told, as in
 * dyn Iterator<Item = u8>; returns where that begins, with the ", " before it. */
static size_t first_binding(const char *s, size_t i, size_t end)
{
	size_t from = i, depth = 0;

	for (; i < end; i++) {
		if (strchr("<([", s[i]))
			depth++;
		else if (strchr(")]", s[i]) || (s[i] == '>' && s[i - 1] != '-'))
			depth -= depth > 0;
		else if (!depth && s[i] == ',')
			from = i;
		else if (!depth && has_prefix(s + i, end - i, " = "))
			return from;
	}
	return end;
}

/* Generic arguments follow a path ("Vec<", "new::<"), a qualified path or a binder does not
 * ("<T as Trait>", "for<'a>"). */
static bool is_generic(const char *s, size_t out)
{
	if (out >= 2 && s[out - 1] == ':')
		return true;
	if (!out || (!is_word(s[out - 1]) && !(s[out - 1] & 0x80) && !strchr(">}", s[out - 1])))
		return false;
	return !(out >= 3 && !memcmp(s + out - 3, "for", 3) && (out == 3 || !is_word(s[out - 4])));
}

static size_t drop_generic_arguments(char *s, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n;) {
		size_t end;

		if (s[i] != '<' || !is_generic(s, out)) {
			s[out++] = s[i++];
			continue;
		}
		s[out++] = s[i];
		end = close_angle(s, n, i);
		i = first_binding(s, i + 1, end > i + 1 ? end - 1 : end);
	}
	return out;
}

/* Two factors of the printer's use of stack, at most: see MAX_TEMPLATE_COPIES. */
static bool needs_too_much_stack(const char *name, size_t n)
{
	size_t templates = 0, references = 0;

	for (size_t i = 0; i + 1 < n; i++) {
		templates += name[i] == 'I' || name[i] == 'J';
		references += (name[i] == 'R' || name[i] == 'O') &&
			      (name[i + 1] == 'T' || name[i + 1] == 'S');
	}
	return templates * references > MAX_TEMPLATE_COPIES;
}

static bool cxx_tree(const char *name, enum symbolizer_demangle how, int options, struct text *t)
{
	_cleanup_(freep) void *memory = NULL;
	struct demangle_component *tree = cplus_demangle_v3_components(name, options, &memory);

	while (tree && tree->type == DEMANGLE_COMPONENT_CLONE) /* [clone .cold] */
		tree = tree->u.s_binary.left;
	if (!tree)
		return false;
	if (how == DEMANGLE_SIMPLE)
		simplify_tree(tree);
	return print_tree(tree, options, t);
}

static bool cxx(const char *name, size_t n, enum symbolizer_demangle how, struct text *t)
{
	int options = how == DEMANGLE_FULL ? DMGL_PARAMS | DMGL_ANSI : DMGL_NO_OPTS;
	_cleanup_(freep) char *bare = NULL;

	if (needs_too_much_stack(name, n))
		return false;
	if (!cxx_tree(name, how, options, t)) {
		/* The second way reads a name again where it turns out to be ambiguous, but only
		 * names of at most 1024 bytes, and it shows no tree. */
		bare = strndup(name, strcspn(name, "."));
		if (!bare || !print_v3(bare, options, t))
			return false;
	}
	if (how == DEMANGLE_SIMPLE)
		t->n = drop_template_arguments(t->data, t->n);
	return true;
}

/* A reading of a Rust v0 name (RFC 2603) that decides nothing but this: a binder, for<'a, 'b, ...>,
 * counts in base 62, and where libiberty skips a part it would count to 2^64 in silence. The
 * grammar is read as libiberty's rust-demangle.c reads it where it skips: without following
 * references back. */
struct v0 {
	const char *s, *end;
	unsigned depth;
	bool bad;
};

static void v0_path(struct v0 *p);

static char v0_next(struct v0 *p)
{
	if (p->s == p->end)
		p->bad = true;
	return p->bad ? 0 : *p->s++;
}

static bool v0_eat(struct v0 *p, char c)
{
	if (p->bad || p->s == p->end || *p->s != c)
		return false;
	p->s++;
	return true;
}

static size_t v0_digits(struct v0 *p)
{
	size_t n = 0;

	for (; !p->bad && !v0_eat(p, '_'); n++)
		v0_next(p);
	return n;
}

static void v0_identifier(struct v0 *p)
{
	size_t n;
	char c;

	if (v0_eat(p, 's'))
		v0_digits(p);
	v0_eat(p, 'u');
	c = v0_next(p);
	p->bad |= !isdigit((unsigned char)c);
	n = (size_t)(c - '0');
	while (n && p->s < p->end && isdigit((unsigned char)*p->s) && n < MAX_MANGLED)
		n = n * 10 + (size_t)(*p->s++ - '0');
	v0_eat(p, '_');
	if (p->bad || n > (size_t)(p->end - p->s))
		p->bad = true;
	else
		p->s += n;
}

static void v0_binder(struct v0 *p)
{
	if (v0_eat(p, 'G') && v0_digits(p) > 1)
		p->bad = true;
}

static void v0_constant(struct v0 *p)
{
	if (v0_eat(p, 'B') || !v0_eat(p, 'p'))
		v0_digits(p); /* the type's letter counts as one */
}

static void v0_type(struct v0 *p);

static void v0_types(struct v0 *p)
{
	while (!p->bad && !v0_eat(p, 'E'))
		v0_type(p);
}

static void v0_function(struct v0 *p)
{
	v0_binder(p);
	v0_eat(p, 'U');
	if (v0_eat(p, 'K') && !v0_eat(p, 'C'))
		v0_identifier(p);
	v0_types(p);
	v0_type(p);
}

static void v0_dyn(struct v0 *p)
{
	v0_binder(p);
	while (!p->bad && !v0_eat(p, 'E')) {
		v0_path(p);
		while (v0_eat(p, 'p')) {
			v0_identifier(p);
			v0_type(p);
		}
	}
	p->bad |= !v0_eat(p, 'L');
	v0_digits(p);
}

static void v0_type(struct v0 *p)
{
	char c = v0_next(p);

	if (p->bad || ++p->depth > V0_MAX_DEPTH) {
		p->bad = true;
		return;
	}
	if (c == 'R' || c == 'Q' || c == 'P' || c == 'O' || c == 'S' || c == 'A') {
		if ((c == 'R' || c == 'Q') && v0_eat(p, 'L'))
			v0_digits(p);
		v0_type(p);
		if (c == 'A')
			v0_constant(p);
	} else if (c == 'T') {
		v0_types(p);
	} else if (c == 'F') {
		v0_function(p);
	} else if (c == 'D') {
		v0_dyn(p);
	} else if (c < 'a' || c > 'z') {
		p->s--;
		v0_path(p);
	}
	p->depth--;
}

static void v0_arguments(struct v0 *p)
{
	while (!p->bad && !v0_eat(p, 'E'))
		if (v0_eat(p, 'L'))
			v0_digits(p);
		else if (v0_eat(p, 'K'))
			v0_constant(p);
		else
			v0_type(p);
}

static void v0_path(struct v0 *p)
{
	char c = v0_next(p);

	if (p->bad || ++p->depth > V0_MAX_DEPTH || !strchr("CNMXYIB", c)) {
		p->bad = true;
		return;
	}
	if (c == 'B')
		v0_digits(p);
	if (c == 'N')
		v0_next(p);
	if ((c == 'M' || c == 'X') && v0_eat(p, 's'))
		v0_digits(p);
	if (strchr("NMXI", c))
		v0_path(p);
	if (strchr("MXY", c))
		v0_type(p);
	if (strchr("XY", c))
		v0_path(p);
	if (strchr("CN", c))
		v0_identifier(p);
	if (c == 'I')
		v0_arguments(p);
	p->depth--;
}

static bool v0_is_harmless(const char *name, size_t n)
{
	const char *dot = memchr(name, '.', n);
	struct v0 p = { name + 2, dot ? dot : name + n, 0, false };

	v0_path(&p);
	if (!p.bad && p.s < p.end)
		v0_path(&p);
	return !p.bad && p.s == p.end;
}

static bool rust(const char *name, size_t n, enum symbolizer_demangle how, struct text *t)
{
	if (!v0_is_harmless(name, n) || !print_rust(name, t))
		return false;
	if (how == DEMANGLE_SIMPLE)
		t->n = drop_generic_arguments(t->data, t->n);
	return true;
}

/* Rust's own names until 2025: C++ names whose last part is a hash, "17h", 16 digits and "E". */
static bool rust_legacy(const char *name, size_t n, struct text *t)
{
	_cleanup_(freep) char *bare = NULL;

	for (size_t i = n - 1; i > 0; i--)
		if (name[i - 1] == 'E' && name[i] == '.') {
			n = i;
			break;
		}
	if (n <= 23 || name[n - 1] != 'E' || memcmp(name + n - 20, "17h", 3))
		return false;
	bare = strndup(name, n);
	return bare && print_rust(bare, t);
}

/* The order and the tests are those of ianlancetaylor/demangle: ToString, which pprof uses; but for
 * "_GLOBAL__I_", which no compiler has written since 2012. */
static bool mangled(const char *name, size_t n, enum symbolizer_demangle how, struct text *t)
{
	t->n = t->n_pieces = 0;
	if (has_prefix(name, n, "_R"))
		return rust(name, n, how, t);
	if (has_prefix(name, n, "_ZN") && rust_legacy(name, n, t))
		return true;
	t->n = t->n_pieces = 0;
	return has_prefix(name, n, "_Z") && cxx(name, n, how, t);
}

static size_t replace(char *s, size_t n, size_t max, const char *from, const char *to)
{
	size_t k = strlen(from), l = strlen(to);

	for (size_t i = 0; i + k <= n && n + l <= max; i++) {
		if (memcmp(s + i, from, k))
			continue;
		memmove(s + i + l, s + i + k, n - i - k);
		memcpy(s + i, to, l);
		n += l - k;
		i += l - 1;
	}
	return n;
}

/* Names that come demangled: names.c makes such of DWARF's where there is no linkage name, with
 * GCC's word for a namespace without a name. pprof drops what is in brackets, too; but it does not
 * know operators. ".<" and "])." are Java's and Go's. */
static void plain(const char *name, size_t n, enum symbolizer_demangle how, struct text *t)
{
	memcpy(t->data, name, n);
	t->n = n;
	if (!memmem(name, n, "::", 2) && !memchr(name, '<', n))
		return;
	t->n = replace(t->data, n, MAX_TEXT, "{anonymous}", "(anonymous namespace)");
	if (how == DEMANGLE_SIMPLE && !memmem(name, n, ".<", 2) && !memmem(name, n, "]).", 3))
		t->n = drop_template_arguments(t->data, t->n);
}

size_t demangle(const char *system_name, enum symbolizer_demangle how,
		char to[SYMBOLIZER_MAX_NAME + 1])
{
	size_t n = strlen(system_name);
	struct text t;

	if (how == DEMANGLE_NONE || n > MAX_MANGLED)
		return utf8_copy(to, SYMBOLIZER_MAX_NAME + 1, system_name, n);
	/* The second try: some systems write one more underscore before every name. */
	if (!mangled(system_name, n, how, &t) &&
	    !(system_name[0] == '_' && mangled(system_name + 1, n - 1, how, &t)))
		plain(system_name, n, how, &t);
	return utf8_copy(to, SYMBOLIZER_MAX_NAME + 1, t.data, t.n);
}
