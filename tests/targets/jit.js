// SPDX-License-Identifier: Apache-2.0

// jit.js - a workload for node's JIT compilers: closures, arrays, strings, regular expressions, and
// new code made all the time. jit.js [SECONDS]

const end = Date.now() + 1000 * (process.argv[2] || 10);
let sink = 0;

function fibonacci(n) {
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

function sortSome(turn) {
	const a = Array.from({ length: 500 }, (_, i) => (i * 7919 + turn) % 1009);

	a.sort((x, y) => x - y);
	return a[10];
}

function words() {
	return "the quick brown fox jumps over the lazy dog".replace(/(\w)(\w*)/g,
		(_, first, rest) => first.toUpperCase() + rest).split(" ").length;
}

console.log("ready");
for (let turn = 0; Date.now() < end; turn++) {
	const made = new Function("n", `let s = ${turn}; for (let i = 0; i < n; i++) s += i; return s;`);

	sink += fibonacci(18) + sortSome(turn) + words() + made(20000);
}
console.log("done", sink > 0);
