// SPDX-License-Identifier: Apache-2.0

// jit.js - a workload for node's JIT compilers: closures, arrays, strings, regular expressions.
//
//   jit.js SECONDS [new]
//
// Prints "ready" when the compilers have had CPU time to do their work; with `new`, new functions are
// made all the time, so that they never come to rest.

const end = performance.now() + 1000 * process.argv[2];
let sink = 0;
let ready = false;

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

for (let turn = 0; performance.now() < end; turn++) {
	sink += fibonacci(18) + sortSome(turn) + words();
	if (process.argv[3] === "new")
		sink += new Function("n", `let s = ${turn}; while (n--) s += n; return s;`)(20000);
	if (!ready && turn % 16 === 0) {
		const used = process.cpuUsage();

		ready = used.user + used.system > 1500000;
		if (ready)
			console.log("ready");
	}
}
console.log("done", sink > 0);
