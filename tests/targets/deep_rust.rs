// SPDX-License-Identifier: Apache-2.0

// deep_rust.rs - as deep.cc, in Rust: three kinds of work under recursion, closures and sorting, with the
// CPU time each took by the thread's own clock. rustc -O, no frame pointers.
//
//   deep_rust SECONDS

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

#[repr(C)]
struct Timespec {
    sec: i64,
    nsec: i64,
}

extern "C" {
    fn clock_gettime(id: i32, t: *mut Timespec) -> i32;
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
}

fn cpu_ns() -> i64 {
    let mut t = Timespec { sec: 0, nsec: 0 };
    unsafe { clock_gettime(3, &mut t) };
    t.sec * 1_000_000_000 + t.nsec
}

static ASKED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

extern "C" fn on_ask(_: i32) {
    ASKED.store(true, std::sync::atomic::Ordering::Relaxed);
}

#[inline(never)]
fn descend(depth: u32, leaf: &dyn Fn(i64) -> u64, until: i64) -> u64 {
    if depth == 0 {
        return leaf(until);
    }
    black_box(descend(black_box(depth - 1), leaf, until)).wrapping_add(depth as u64)
}

#[inline(never)]
fn work_sort(until: i64) -> u64 {
    let mut sum = 0u64;
    while cpu_ns() < until {
        let mut v: Vec<u64> = (0..500u64).map(|i| i.wrapping_mul(0x9e3779b97f4a7c15) >> 7).collect();
        v.sort_by(|a, b| (a % 1009).cmp(&(b % 1009)));
        sum = sum.wrapping_add(v[17]);
    }
    sum
}

#[inline(never)]
fn work_map(until: i64) -> u64 {
    let mut sum = 0u64;
    while cpu_ns() < until {
        let mut m: HashMap<String, u64> = HashMap::new();
        for i in 0..100u64 {
            *m.entry(format!("key{}", i % 37)).or_insert(0) += i;
        }
        sum = sum.wrapping_add(m.values().sum::<u64>());
    }
    sum
}

#[inline(never)]
fn work_spin(until: i64) -> u64 {
    let mut x = 1u64;
    while cpu_ns() < until {
        for i in 0..3000u64 {
            x = black_box(x.wrapping_mul(31).wrapping_add(i));
        }
    }
    x
}

#[inline(never)]
fn branch_a(until: i64) -> u64 {
    descend(30, &work_sort, until)
}

#[inline(never)]
fn branch_b(until: i64) -> u64 {
    descend(20, &work_map, until)
}

#[inline(never)]
fn branch_c(until: i64) -> u64 {
    descend(40, &work_spin, until)
}

fn report(truth: &[i64; 3]) {
    for (i, t) in truth.iter().enumerate() {
        println!("truth branch_{} {}", (b'a' + i as u8) as char, t);
    }
    println!("truth total {}", truth.iter().sum::<i64>());
}

fn main() {
    let seconds: f64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(10.0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let branches: [(fn(i64) -> u64, i64); 3] = [(branch_a, 50), (branch_b, 30), (branch_c, 20)];
    let mut truth = [0i64; 3];
    unsafe { signal(10, on_ask) };
    while Instant::now() < end {
        for (i, (run, weight)) in branches.iter().enumerate() {
            let before = cpu_ns();
            black_box(run(before + weight * 40_000));
            truth[i] += cpu_ns() - before;
        }
        if ASKED.swap(false, std::sync::atomic::Ordering::Relaxed) {
            report(&truth);
        }
    }
    report(&truth);
}
