// SPDX-License-Identifier: Apache-2.0

// heap_rust.rs - a Rust program that allocates at named sites and keeps account of each.
//
//   heap-rust SECONDS [THREADS]
//
// Says "ready" and begins with the first line on its input. With each further line it stands still,
// prints "truth SITE ALLOCS BYTES LIVE LIVE-BYTES" and "truth total ..." last, and goes on
// with the next.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::BufRead;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::Mutex;
use std::time::{Duration, Instant};

struct Site {
    name: &'static str,
    account: [AtomicI64; 4], // allocs, bytes, live, live bytes
}

const fn site(name: &'static str) -> Site {
    Site { name, account: [const { AtomicI64::new(0) }; 4] }
}

static SITES: [Site; 4] = [site("site_box"), site("site_vec"), site("site_grow"), site("site_large")];
const BOX: usize = 0;
const VEC: usize = 1;
const GROW: usize = 2;
const LARGE: usize = 3;

fn got(s: usize, n: i64) {
    for (account, v) in SITES[s].account.iter().zip([1, n, 1, n]) {
        account.fetch_add(v, SeqCst);
    }
}

fn gone(s: usize, n: i64) {
    SITES[s].account[2].fetch_sub(1, SeqCst);
    SITES[s].account[3].fetch_sub(n, SeqCst);
}

static PAUSE: AtomicBool = AtomicBool::new(false);
static PAUSED: AtomicUsize = AtomicUsize::new(0);
static LARGES: Mutex<VecDeque<Vec<u64>>> = Mutex::new(VecDeque::new());

#[inline(never)]
fn site_box() -> Box<[u64; 125]> {
    let b = Box::new(black_box([7u64; 125]));
    black_box(b)
}

#[inline(never)]
fn site_vec(n: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(black_box(n)))
}

#[inline(never)]
fn site_grow(v: &mut Vec<u8>, more: usize) {
    v.reserve_exact(black_box(more));
    black_box(v.capacity());
}

#[inline(never)]
fn site_large() -> Vec<u64> {
    black_box(vec![0u64; black_box(1 << 17)])
}

fn one_round(i: usize, held: &mut Vec<Vec<u8>>, grown: &mut Vec<u8>) {
    for _ in 0..20 {
        got(BOX, 1000);
        drop(site_box());
        gone(BOX, 1000);
    }
    let n = 16 + (i * 7919) % 3200;
    got(VEC, n as i64);
    let v = site_vec(n);
    if held.len() < 2000 {
        held.push(v);
    } else {
        let at = (i * 31) % held.len();
        gone(VEC, held[at].capacity() as i64);
        held[at] = v;
    }
    if grown.capacity() > 200_000 {
        gone(GROW, grown.capacity() as i64);
        *grown = Vec::new();
    }
    let before = grown.capacity();
    if before > 0 {
        gone(GROW, before as i64);
    }
    got(GROW, before as i64 + 3001);
    site_grow(grown, before + 3001);
    if i % 50 == 0 {
        got(LARGE, 1 << 20);
        let v = site_large();
        let mut larges = LARGES.lock().unwrap();
        larges.push_back(v);
        if larges.len() > 16 {
            drop(larges.pop_front());
            gone(LARGE, 1 << 20);
        }
    }
}

fn work(number: usize) {
    let mut held = Vec::with_capacity(2000);
    let mut grown = Vec::new();
    for i in number.. {
        if PAUSE.load(SeqCst) {
            PAUSED.fetch_add(1, SeqCst);
            while PAUSE.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            PAUSED.fetch_sub(1, SeqCst);
        }
        one_round(i, &mut held, &mut grown);
    }
}

fn print_truth(threads: usize) {
    let mut total = [0; 4];
    PAUSE.store(true, SeqCst);
    while PAUSED.load(SeqCst) < threads {
        std::thread::sleep(Duration::from_millis(1));
    }
    for s in &SITES {
        let v: Vec<i64> = s.account.iter().map(|a| a.load(SeqCst)).collect();
        println!("truth {} {} {} {} {}", s.name, v[0], v[1], v[2], v[3]);
        total.iter_mut().zip(v).for_each(|(t, x)| *t += x);
    }
    println!("truth total {} {} {} {}", total[0], total[1], total[2], total[3]);
}

fn main() {
    let number = |i, other| std::env::args().nth(i).and_then(|a| a.parse().ok()).unwrap_or(other);
    let (seconds, threads) = (number(1, 10), number(2, 2));
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let mut lines = std::io::stdin().lock().lines();
    println!("ready");
    lines.next();
    for i in 0..threads {
        std::thread::spawn(move || work(i));
    }
    std::thread::spawn(move || {
        std::thread::sleep(end - Instant::now());
        std::process::exit(0);
    });
    while lines.next().is_some() {
        print_truth(threads);
        lines.next();
        PAUSE.store(false, SeqCst);
    }
    std::thread::sleep(Duration::from_secs(3600));
}
