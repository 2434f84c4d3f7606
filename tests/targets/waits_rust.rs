// SPDX-License-Identifier: Apache-2.0

// waits_rust.rs - waits.h in Rust: for what the standard library can wait for, and for a lock as
// parking_lot's is, whose waiters stand in a queue and are parked each on a word of its own.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::hint::black_box;
use std::io::BufRead;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex, RwLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

const N_THREADS: usize = 160;
const NAMES: [&str; 11] = [
    "site_long", "site_short", "site_reader", "site_writer", "site_cond", "site_recv", "site_park",
    "site_barrier", "site_own", "site_send", "site_join",
];
const LONG: usize = 0;
const SHORT: usize = 1;
const READER: usize = 2;
const WRITER: usize = 3;
const COND: usize = 4;
const RECV: usize = 5;
const PARK: usize = 6;
const BARRIER: usize = 7;
const OWN: usize = 8;
const SEND: usize = 9;
const JOIN: usize = 10;

static ACCOUNT: [[AtomicI64; 5]; 11] = [const { [const { AtomicI64::new(0) }; 5] }; 11];
static STOPPING: AtomicBool = AtomicBool::new(false);
thread_local! {
    static ME: Cell<usize> = const { Cell::new(0) };
    static SEED: Cell<u32> = const { Cell::new(0) };
}

#[repr(C)]
struct Rusage {
    words: [i64; 18],
}

extern "C" {
    fn getrusage(who: i32, usage: *mut Rusage) -> i32;
}

fn switches() -> i64 {
    const RUSAGE_THREAD: i32 = 1;
    let mut r = Rusage { words: [0; 18] };
    unsafe { getrusage(RUSAGE_THREAD, &mut r) };
    r.words[16] // ru_nvcsw
}

fn stopped() -> bool {
    STOPPING.load(SeqCst)
}

fn nap(us: u64) {
    thread::sleep(Duration::from_micros(us));
}

/// Between half and one and a half times as long.
fn nap_about(us: u64) {
    let seed = SEED.get().wrapping_add(ME.get() as u32).wrapping_mul(1664525).wrapping_add(1013904223);
    SEED.set(seed);
    nap(us / 2 + (seed >> 8) as u64 % us);
}

struct Span {
    switches: i64,
    start: Instant,
}

#[inline(always)]
fn wait_begins() -> Span {
    Span { switches: switches(), start: Instant::now() }
}

#[inline(always)]
fn wait_ends(site: usize, s: Span) {
    let ns = s.start.elapsed().as_nanos() as i64;
    let n = switches() - s.switches;
    ACCOUNT[site][1].fetch_add(1, SeqCst);
    if n > 0 {
        ACCOUNT[site][0].fetch_add(ns, SeqCst);
        ACCOUNT[site][2].fetch_add(n, SeqCst);
    }
}

/// Who waits for a lock, since when: as struct line of waits.h.
struct Line {
    since: [AtomicI64; N_THREADS],
    acquired: AtomicI64,
    released: AtomicI64,
    handed: AtomicI64,
}

fn now() -> i64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as i64 + 1
}

impl Line {
    const fn new() -> Line {
        Line {
            since: [const { AtomicI64::new(0) }; N_THREADS],
            acquired: AtomicI64::new(0),
            released: AtomicI64::new(0),
            handed: AtomicI64::new(0),
        }
    }

    fn enter(&self) {
        self.since[ME.get()].store(now(), SeqCst);
    }

    fn got(&self, first: bool) {
        let t = now();
        let since = self.since[ME.get()].swap(0, SeqCst);
        self.handed.fetch_add(t - since.max(self.released.load(SeqCst)), SeqCst);
        if first {
            self.acquired.store(t, SeqCst);
        }
    }

    fn release(&self, site: usize) {
        let t = now();
        let (acquired, released) = (self.acquired.load(SeqCst), self.released.load(SeqCst));
        let (mut low, mut high) = (0, self.handed.swap(0, SeqCst));
        for s in self.since.iter().map(|s| s.load(SeqCst)).filter(|s| *s != 0 && *s < t) {
            low += t - s.max(acquired);
            high += t - s.max(released);
        }
        self.released.store(t, SeqCst);
        ACCOUNT[site][3].fetch_add(low, SeqCst);
        ACCOUNT[site][4].fetch_add(high, SeqCst);
    }
}

static MUTEX: Mutex<u64> = Mutex::new(0);
static MUTEX_LINE: Line = Line::new();

#[inline(never)]
fn site_long() {
    let s = wait_begins();
    MUTEX_LINE.enter();
    let mut g = MUTEX.lock().unwrap();
    MUTEX_LINE.got(true);
    wait_ends(LONG, s);
    *g += 1;
    nap(2000);
    MUTEX_LINE.release(LONG);
    drop(g);
    black_box(());
}

#[inline(never)]
fn site_short() {
    let s = wait_begins();
    MUTEX_LINE.enter();
    let mut g = MUTEX.lock().unwrap();
    MUTEX_LINE.got(true);
    wait_ends(SHORT, s);
    *g += 2;
    nap(500);
    MUTEX_LINE.release(SHORT);
    drop(g);
    black_box(());
}

fn use_mutex(i: usize) {
    while !stopped() {
        if i % 2 == 1 {
            site_short();
        } else {
            site_long();
        }
        nap_about(1500);
    }
}

static SHARED: RwLock<u64> = RwLock::new(0);
static SHARED_LINE: Line = Line::new();
static N_READERS: AtomicUsize = AtomicUsize::new(0);

#[inline(never)]
fn site_reader() {
    let s = wait_begins();
    SHARED_LINE.enter();
    let g = SHARED.read().unwrap();
    SHARED_LINE.got(N_READERS.fetch_add(1, SeqCst) == 0);
    wait_ends(READER, s);
    black_box(*g);
    nap(500);
    if N_READERS.fetch_sub(1, SeqCst) == 1 {
        SHARED_LINE.release(READER);
    }
    drop(g);
    black_box(());
}

#[inline(never)]
fn site_writer() {
    let s = wait_begins();
    SHARED_LINE.enter();
    let mut g = SHARED.write().unwrap();
    SHARED_LINE.got(true);
    wait_ends(WRITER, s);
    *g += 1;
    nap(2000);
    SHARED_LINE.release(WRITER);
    drop(g);
    black_box(());
}

fn use_shared(i: usize) {
    while !stopped() {
        if i % 4 == 0 {
            site_writer();
        } else {
            site_reader();
        }
        nap_about(3000);
    }
}

static QUEUE: Mutex<u64> = Mutex::new(0);
static COND_VAR: Condvar = Condvar::new();

#[inline(never)]
fn site_cond(g: std::sync::MutexGuard<u64>) -> std::sync::MutexGuard<u64> {
    let s = wait_begins();
    let g = COND_VAR.wait(g).unwrap();
    wait_ends(COND, s);
    g
}

fn consume(_: usize) {
    while !stopped() {
        let mut g = QUEUE.lock().unwrap();
        while *g == 0 && !stopped() {
            g = site_cond(g);
        }
        *g = g.saturating_sub(1);
    }
}

fn produce(_: usize) {
    while !stopped() {
        nap_about(2000);
        *QUEUE.lock().unwrap() += 1;
        COND_VAR.notify_one();
    }
    nap(5000);
    let _g = QUEUE.lock().unwrap();
    COND_VAR.notify_all();
}

#[inline(never)]
fn site_recv(r: &mpsc::Receiver<u64>) -> bool {
    let s = wait_begins();
    let ok = r.recv().is_ok();
    wait_ends(RECV, s);
    ok
}

#[inline(never)]
fn site_send(w: &mpsc::SyncSender<u64>) {
    let s = wait_begins();
    let ok = w.send(1).is_ok();
    wait_ends(SEND, s);
    black_box(ok);
}

/// By turns one side is slow for a while, and the other waits.
fn channel(_: usize) {
    let (w, r) = mpsc::sync_channel(4);
    let receiver = spawn(move |_| {
        for i in 0.. {
            if !site_recv(&r) {
                break;
            }
            if i / 100 % 2 == 1 {
                nap_about(2000);
            }
        }
    }, 0);
    for i in 0.. {
        if stopped() {
            break;
        }
        site_send(&w);
        if i / 100 % 2 == 0 {
            nap_about(2000);
        }
    }
    drop(w);
    receiver.join().unwrap();
}

#[inline(never)]
fn site_park() {
    let s = wait_begins();
    thread::park();
    wait_ends(PARK, s);
}

#[inline(never)]
fn site_join(t: JoinHandle<()>) {
    let s = wait_begins();
    let ok = t.join().is_ok();
    wait_ends(JOIN, s);
    black_box(ok);
}

fn park(_: usize) {
    let parked = spawn(|_| {
        while !stopped() {
            site_park();
        }
    }, 0);
    while !parked.is_finished() {
        nap_about(3000);
        parked.thread().unpark();
    }
    parked.join().unwrap();
}

fn start_and_join(_: usize) {
    while !stopped() {
        site_join(thread::spawn(|| nap(3000)));
    }
}

#[inline(never)]
fn site_barrier(b: &Barrier) -> bool {
    let s = wait_begins();
    let leader = b.wait().is_leader();
    wait_ends(BARRIER, s);
    black_box(leader)
}

fn meet(b: Arc<Barrier>, last: Arc<AtomicBool>) {
    loop {
        nap_about(3000);
        if site_barrier(&b) {
            last.store(stopped(), SeqCst);
        }
        site_barrier(&b);
        if last.load(SeqCst) {
            break;
        }
    }
}

/// A lock whose waiters are woken one by one; it is passed on to the one that is woken.
struct Own {
    spin: AtomicBool,
    state: UnsafeCell<(bool, VecDeque<(Thread, Arc<AtomicBool>)>)>,
}

unsafe impl Sync for Own {}

static OWN_LOCK: Own =
    Own { spin: AtomicBool::new(false), state: UnsafeCell::new((false, VecDeque::new())) };
static OWN_LINE: Line = Line::new();

impl Own {
    fn with<T>(&self, f: impl FnOnce(&mut (bool, VecDeque<(Thread, Arc<AtomicBool>)>)) -> T) -> T {
        while self.spin.swap(true, SeqCst) {
            thread::yield_now();
        }
        let r = f(unsafe { &mut *self.state.get() });
        self.spin.store(false, SeqCst);
        r
    }

    #[inline(never)]
    fn lock(&self) {
        let mine = Arc::new(AtomicBool::new(false));
        let wait = self.with(|(taken, queue)| {
            if *taken {
                queue.push_back((thread::current(), mine.clone()));
            }
            std::mem::replace(taken, true)
        });
        while wait && !mine.load(SeqCst) {
            thread::park();
        }
    }

    #[inline(never)]
    fn unlock(&self) {
        let next = self.with(|(taken, queue)| {
            let next = queue.pop_front();
            *taken = next.is_some();
            next
        });
        if let Some((thread, word)) = next {
            word.store(true, SeqCst);
            thread.unpark();
        }
    }
}

#[inline(never)]
fn site_own() {
    let s = wait_begins();
    OWN_LINE.enter();
    OWN_LOCK.lock();
    OWN_LINE.got(true);
    wait_ends(OWN, s);
    nap(1000);
    OWN_LINE.release(OWN);
    OWN_LOCK.unlock();
    black_box(());
}

fn use_own(_: usize) {
    while !stopped() {
        site_own();
        nap_about(1000);
    }
}

static N_SPAWNED: AtomicUsize = AtomicUsize::new(0);

fn spawn(f: impl FnOnce(usize) + Send + 'static, argument: usize) -> JoinHandle<()> {
    let number = N_SPAWNED.fetch_add(1, SeqCst) % (N_THREADS - 1) + 1;
    thread::spawn(move || {
        ME.set(number);
        f(argument)
    })
}

fn begin(kind: &str, n: usize) -> Vec<JoinHandle<()>> {
    let many = |f: fn(usize), n: usize| (0..n).map(|i| spawn(f, i)).collect::<Vec<_>>();
    ACCOUNT.iter().flatten().for_each(|v| v.store(0, SeqCst));
    STOPPING.store(false, SeqCst);
    N_SPAWNED.store(0, SeqCst);
    match kind {
        "mutex" => many(use_mutex, n),
        "rwlock" => many(use_shared, n),
        "cond" => {
            let mut all = many(consume, n - 1);
            all.push(spawn(produce, 0));
            all
        }
        "channel" => many(channel, 1),
        "park" => many(park, 1),
        "join" => many(start_and_join, n / 2),
        "barrier" => {
            let (b, last) = (Arc::new(Barrier::new(n)), Arc::new(AtomicBool::new(false)));
            (0..n)
                .map(|i| {
                    let (b, last) = (b.clone(), last.clone());
                    spawn(move |_| meet(b, last), i)
                })
                .collect()
        }
        "own" => many(use_own, n),
        _ => std::process::exit(2),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let kind = arguments.get(1).map_or("mutex", |s| s);
    let n = arguments.get(2).map_or(4, |s| s.parse().unwrap());
    let mut threads = Vec::new();
    now();
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "begin" => threads = begin(kind, n),
            "stop" => {
                STOPPING.store(true, SeqCst);
                threads.drain(..).for_each(|t| t.join().unwrap());
                for (name, a) in NAMES.iter().zip(&ACCOUNT) {
                    let v: Vec<i64> = a.iter().map(|v| v.load(SeqCst)).collect();
                    if v[1] > 0 || v[4] > 0 {
                        println!("truth {name} {} {} {} {} {}", v[0], v[1], v[2], v[3], v[4]);
                    }
                }
                println!("truth total");
            }
            _ => std::process::exit(0),
        }
        println!("done");
    }
}
