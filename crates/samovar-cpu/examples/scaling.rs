//! How the ViT-B encoder would scale on 1 to 64 threads, from what one thread can measure.
//!
//! `cargo run --release -p samovar-cpu --example scaling [-- f32|int8 [repeats [GB/s]]]`. Every operator is cut into
//! tasks as it is for so many threads, and its tasks run one after another, each timed by the thread's own time. Then
//! simulated threads take these tasks by the rule of `threads.rs`: the caller wakes two, each of
//! the woken two more, and everybody takes the next task from one counter until none is left. Handing over, waking and the time
//! an operator spends outside its tasks are measured and counted in. An operator never takes less than its bytes need
//! at the given memory bandwidth. What this leaves out: clocks that drop when many cores work, and shares of caches.

mod shared;

#[path = "shared/environment.rs"]
mod environment;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use samovar_cpu::{CpuKernels, CpuOptions, Rehearsed, SimdLevel};
use samovar_tensor::{
    Activation, Attention, AttentionBias, Conv2dGeometry, Device, Epilogue, Instrument, Pool, Precision,
    Result, Rows, Span, Tensor, TokenLayout,
};

use shared::{numbers, thread_seconds};

use environment::asked;

const THREADS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const SIDE: usize = 64;
const TOKENS: usize = SIDE * SIDE;
const CHANNELS: usize = 768;
const HEADS: usize = 12;
const WINDOW: usize = 14;

/// The order of calls in the encoder.
const BLOCK: [&str; 7] = ["norm", "qkv", "windows", "projection", "norm", "widen", "narrow"];
const NECK: [&str; 4] = ["neck 1x1", "neck norm", "neck 3x3", "neck norm"];
const BLOCKS: usize = 12;
const GLOBAL: [usize; 4] = [2, 5, 8, 11];

fn calls() -> Vec<&'static str> {
    let mut calls = vec!["patches"];
    for block in 0..BLOCKS {
        let attention = if GLOBAL.contains(&block) { "global" } else { "windows" };
        calls.extend(BLOCK.map(|name| if name == "windows" { attention } else { name }));
    }
    calls.extend(NECK);
    calls
}

/// One operator, cut for a number of threads.
#[derive(Clone)]
struct Cut {
    tasks: Rehearsed,
    /// Time of the call that is not in its tasks.
    serial: f64,
    bytes: u64,
}

/// What handing over costs, in seconds, by measurement.
#[derive(Debug, Clone, Copy)]
struct Costs {
    /// Filling the mailbox of a thread that looks into it, until it runs.
    send_awake: f64,
    reach_awake: f64,
    /// The same for a thread that sleeps.
    send_asleep: f64,
    reach_asleep: f64,
    /// How long a thread without work stays awake.
    patience: f64,
    /// Taking a number from the counter when another thread had it last: one after another.
    take: f64,
}

impl Costs {
    /// A machine whose threads reach each other more slowly.
    fn times(self, factor: f64) -> Self {
        Self {
            send_awake: self.send_awake * factor,
            reach_awake: self.reach_awake * factor,
            send_asleep: self.send_asleep * factor,
            reach_asleep: self.reach_asleep * factor,
            patience: self.patience,
            take: self.take * factor,
        }
    }
}

// ------------------------------------------------------------------------------------------------- measuring

/// Bytes by stage.
#[derive(Default)]
struct Bytes(Mutex<BTreeMap<&'static str, u64>>);

impl Instrument for Bytes {
    fn record(&self, span: &Span) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(span.stage, span.cost.bytes);
    }
}

/// Every operator once, on random numbers.
fn operators(
    device: &Device,
    mut run: impl FnMut(&'static str, &dyn Fn(&Device) -> Result<Tensor>),
) -> Result<()> {
    let linear = |inputs: usize, outputs: usize| {
        let weight = numbers(&[outputs, inputs], (3.0 / inputs as f32).sqrt());
        device.load_linear(&weight, Some(&numbers(&[outputs], 0.1)))
    };
    let exact = device.with_weight_precision(Precision::F32);
    let none = Activation::Identity;
    let x = device.load(&numbers(&[1, SIDE, SIDE, CHANNELS], 1.0))?;
    let wide = device.load(&numbers(&[1, SIDE, SIDE, 4 * CHANNELS], 1.0))?;
    let neck = device.load(&numbers(&[1, SIDE, SIDE, 256], 1.0))?;

    let image = device.load(&numbers(&[1, 16 * SIDE, 16 * SIDE, 3], 1.0))?;
    let patches =
        exact.load_conv2d(&numbers(&[CHANNELS, 3, 16, 16], 0.05), None, Conv2dGeometry::patches(16))?;
    run("patches", &|device| device.conv2d(&image, &patches, &Epilogue::add(&x)));
    let norm = device.load_layer_norm(&numbers(&[CHANNELS], 1.0), &numbers(&[CHANNELS], 0.1), 1e-6)?;
    run("norm", &|device| device.layer_norm(&x, &norm, none));
    let layer = linear(CHANNELS, 3 * CHANNELS)?;
    run("qkv", &|device| device.linear(&x, &layer, &Epilogue::NONE));

    let qkv = device.load(&numbers(&[1, SIDE, SIDE, 3 * CHANNELS], 1.0))?;
    let padding = device.load(&numbers(&[1, 3 * CHANNELS], 0.1))?;
    for (name, grid) in [("windows", WINDOW), ("global", SIDE)] {
        let table = |scale| device.load(&numbers(&[2 * grid - 1, CHANNELS / HEADS], scale));
        let (rows, columns) = (table(0.1)?, table(0.2)?);
        let windows = TokenLayout::Windows {
            batch: 1,
            grid: [SIDE, SIDE],
            window: WINDOW,
            query_stride: 1,
            padding: Some(&padding),
        };
        let all = TokenLayout::Sequence { batch: 1, key_batch: 1, queries: TOKENS, keys: TOKENS };
        run(name, &|device| {
            device.attention(&Attention {
                q: Rows::columns(&qkv, 0),
                k: Rows::columns(&qkv, CHANNELS),
                v: Rows::columns(&qkv, 2 * CHANNELS),
                heads: HEADS,
                head_channels: CHANNELS / HEADS,
                value_channels: CHANNELS / HEADS,
                scale: 0.125,
                layout: if grid == WINDOW { windows } else { all },
                bias: AttentionBias::RelativePosition { rows: &rows, columns: &columns, grid: [grid, grid] },
                precision: device.weight_precision(),
            })
        });
    }
    drop(qkv);

    let layer = linear(CHANNELS, CHANNELS)?;
    run("projection", &|device| device.linear(&x, &layer, &Epilogue::add(&x)));
    let layer = linear(CHANNELS, 4 * CHANNELS)?;
    run("widen", &|device| device.linear(&x, &layer, &Epilogue::act(Activation::Gelu)));
    let layer = linear(4 * CHANNELS, CHANNELS)?;
    run("narrow", &|device| device.linear(&wide, &layer, &Epilogue::add(&x)));
    let layer = exact.load_linear(&numbers(&[256, CHANNELS], 0.06), None)?;
    run("neck 1x1", &|device| device.linear(&x, &layer, &Epilogue::NONE));
    let layer = exact.load_conv2d(&numbers(&[256, 256, 3, 3], 0.03), None, Conv2dGeometry::same(3))?;
    run("neck 3x3", &|device| device.conv2d(&neck, &layer, &Epilogue::NONE));
    let norm = device.load_layer_norm(&numbers(&[256], 1.0), &numbers(&[256], 0.1), 1e-6)?;
    run("neck norm", &|device| device.layer_norm(&neck, &norm, none));
    Ok(())
}

/// All operators as they are cut for every number of threads; of several runs the best time of every task.
fn rehearse(precision: Precision, repeats: usize) -> Result<Vec<BTreeMap<&'static str, Cut>>> {
    let bytes = Arc::new(Bytes::default());
    let level: Option<SimdLevel> = asked("SAMOVAR_SIMD");
    let mut backends = Vec::new();
    let pool = Pool::new(usize::MAX);
    for threads in THREADS {
        let kernels =
            CpuKernels::new(CpuOptions { threads, level, ..CpuOptions::default() }).expect("a CPU backend");
        let kernels = Arc::new(kernels.rehearsing(thread_seconds));
        let device = Device::new(kernels.clone(), Arc::clone(&pool)).with_instrument(bytes.clone());
        let device = device.with_weight_precision(precision);
        backends.push((kernels, device));
    }
    let mut cuts = vec![BTreeMap::<&'static str, Cut>::new(); THREADS.len()];
    let mut failure = Ok(());
    // Weights are packed alike for any number of threads.
    let loading = backends[0].1.clone();
    operators(&loading, |name, call| {
        // Numbers of threads take turns, so that a busy moment does not hurt one of them alone.
        for _ in 0..=repeats {
            for ((kernels, device), cuts) in backends.iter().zip(&mut cuts) {
                kernels.take_rehearsed();
                let start = thread_seconds();
                if let Err(error) = call(&device.stage(name)) {
                    failure = Err(error);
                    return;
                }
                let whole = thread_seconds() - start;
                let tasks = joined(kernels.take_rehearsed());
                let serial = (whole - tasks.seconds).max(0.0);
                let bytes = bytes.0.lock().unwrap_or_else(PoisonError::into_inner)[name];
                let cut = cuts.entry(name).or_insert_with(|| Cut { tasks: tasks.clone(), serial, bytes });
                cut.serial = cut.serial.min(serial);
                for (best, one) in cut.tasks.task_seconds.iter_mut().zip(&tasks.task_seconds) {
                    *best = best.min(*one);
                }
            }
        }
        eprint!(".");
    })?;
    eprintln!();
    failure.map(|()| cuts)
}

/// An operator that hands over once.
fn joined(mut rehearsed: Vec<Rehearsed>) -> Rehearsed {
    assert_eq!(rehearsed.len(), 1, "every operator of this encoder hands over once");
    rehearsed.remove(0)
}

/// Near the best: what else the machine does only ever adds, and whoever wants to be handed something may not even be
/// running.
fn undisturbed(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 20]
}

/// Handing over between two threads.
fn measure_costs() -> Costs {
    let [send_awake, reach_awake] = mailbox(Duration::ZERO);
    let [send_asleep, reach_asleep] = mailbox(Duration::from_micros(300));
    let start = Instant::now();
    (0..100 * 2000).for_each(|_| std::hint::spin_loop());
    let patience = start.elapsed().as_secs_f64() / 100.0;
    Costs { send_awake, reach_awake, send_asleep, reach_asleep, patience, take: contended_take() }
}

/// [sending, from sending to running] when the receiver has had nothing to do for a while.
fn mailbox(pause: Duration) -> [f64; 2] {
    const ROUNDS: usize = 1000;
    let origin = Instant::now();
    let now = || origin.elapsed().as_nanos() as usize;
    let (sent, received, stop) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let mut times = [Vec::new(), Vec::new()];
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                if sent.swap(0, Ordering::AcqRel) != 0 {
                    received.store(now(), Ordering::Release);
                } else if pause.is_zero() {
                    std::hint::spin_loop();
                } else {
                    thread::park();
                }
            }
        });
        for _ in 0..ROUNDS {
            let wait = Instant::now();
            while wait.elapsed() < pause.max(Duration::from_micros(3)) {
                std::hint::spin_loop();
            }
            received.store(0, Ordering::Release);
            let start = now();
            sent.store(1, Ordering::Release);
            receiver.thread().unpark();
            let end = now();
            let ran = loop {
                match received.load(Ordering::Acquire) {
                    0 => std::hint::spin_loop(),
                    time => break time,
                }
            };
            times[0].push((end - start) as f64 * 1e-9);
            times[1].push(ran.saturating_sub(start) as f64 * 1e-9);
        }
        stop.store(true, Ordering::Release);
        receiver.thread().unpark();
    });
    times.map(undisturbed)
}

/// Time from a take from a counter to the next by another thread: two take turns.
fn contended_take() -> f64 {
    const TAKES: usize = 20;
    const ROUNDS: usize = 2000;
    let counter = AtomicUsize::new(0);
    let take = |mine: usize| {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for _ in 0..TAKES {
                while counter.load(Ordering::Acquire) % 2 != mine {
                    std::hint::spin_loop();
                }
                counter.fetch_add(1, Ordering::AcqRel);
            }
            times.push(start.elapsed().as_secs_f64() / (2 * TAKES) as f64);
        }
        times
    };
    thread::scope(|scope| {
        scope.spawn(|| take(1));
        undisturbed(take(0))
    })
}

// ------------------------------------------------------------------------------------------------ simulating

/// The team between operators.
struct Team {
    costs: Costs,
    /// Whoever is woken wakes two more, instead of the caller waking all.
    relay: bool,
    bandwidth: f64,
    now: f64,
    /// Since when a worker has had nothing to do.
    idle_since: Vec<f64>,
}

impl Team {
    fn new(threads: usize, costs: Costs, bandwidth: f64) -> Self {
        Self { costs, relay: true, bandwidth, now: 0.0, idle_since: vec![0.0; threads - 1] }
    }

    /// One operator; how long it took.
    fn run(&mut self, cut: &Cut) -> f64 {
        let (costs, begin) = (self.costs, self.now);
        let tasks = &cut.tasks.task_seconds;
        let helpers = if cut.tasks.shared { tasks.len().min(self.idle_since.len() + 1) - 1 } else { 0 };
        // Who is free when; the caller is number 0.
        let mut ready = vec![begin + cut.serial; helpers + 1];
        for worker in 1..=helpers {
            let sender = if self.relay { (worker - 1) / 2 } else { 0 };
            let asleep = ready[sender] - self.idle_since[worker - 1] > costs.patience;
            let (send, reach) = match asleep {
                true => (costs.send_asleep, costs.reach_asleep),
                false => (costs.send_awake, costs.reach_awake),
            };
            ready[worker] = ready[sender] + reach;
            ready[sender] += send;
        }
        let mut free: BinaryHeap<_> =
            ready.into_iter().enumerate().map(|(worker, time)| Reverse((Time(time), worker))).collect();
        let (mut counter, mut end, mut callers_end) = (begin, begin, begin);
        let mut next = tasks.iter();
        while let Some(Reverse((Time(time), worker))) = free.pop() {
            // The counter's line goes from hand to hand.
            counter = if helpers > 0 { time.max(counter) + costs.take } else { time };
            match next.next() {
                Some(seconds) => free.push(Reverse((Time(counter + seconds), worker))),
                None => {
                    end = end.max(counter);
                    match worker {
                        0 => callers_end = counter,
                        worker => self.idle_since[worker - 1] = counter,
                    }
                }
            }
        }
        if helpers > 0 {
            let asleep = end - callers_end > costs.patience;
            end += if asleep { costs.reach_asleep } else { costs.reach_awake };
        }
        self.now = end.max(begin + cut.bytes as f64 / self.bandwidth);
        self.now - begin
    }
}

#[derive(PartialEq)]
struct Time(f64);

impl Eq for Time {}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Seconds by operator over the whole encoder, the second time it runs.
fn encode(cuts: &BTreeMap<&'static str, Cut>, team: &mut Team) -> BTreeMap<&'static str, f64> {
    let mut totals = BTreeMap::new();
    for round in 0..2 {
        for name in calls() {
            let seconds = team.run(&cuts[name]);
            *totals.entry(name).or_insert(0.0) += if round == 1 { seconds } else { 0.0 };
        }
    }
    totals
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let precision = match arguments.first().map(String::as_str) {
        Some("int8") => Precision::Int8,
        None | Some("f32") => Precision::F32,
        Some(other) => panic!("f32 or int8, not {other}"),
    };
    let number = |index: usize, default: f64| {
        arguments.get(index).map_or(default, |word| word.parse().expect("a number"))
    };
    let (repeats, bandwidth) = (number(1, 3.0) as usize, number(2, 200.0) * 1e9);
    let costs = measure_costs();
    let micro = |seconds: f64| format!("{:.2} us", seconds * 1e6);
    println!(
        "{precision}; awake: send {}, reach {}; asleep: send {}, reach {}; stays awake {}; counter {}; {:.0} GB/s",
        micro(costs.send_awake),
        micro(costs.reach_awake),
        micro(costs.send_asleep),
        micro(costs.reach_asleep),
        micro(costs.patience),
        micro(costs.take),
        bandwidth / 1e9,
    );
    check_hand_over();
    let cuts = rehearse(precision, repeats)?;
    let alone = encode(&cuts[0], &mut Team::new(1, costs, bandwidth));
    let runs: Vec<_> = THREADS
        .iter()
        .zip(&cuts)
        .map(|(&threads, cuts)| encode(cuts, &mut Team::new(threads, costs, bandwidth)))
        .collect();

    print!("\n{:12} {:>9}", "efficiency", "1 thread");
    THREADS[1..].iter().for_each(|threads| print!(" {threads:>6}"));
    println!("   on 64: tasks  longest  work x  time");
    for (name, one) in &alone {
        print!("{name:12} {:>6.1} ms", one * 1e3);
        for (threads, run) in THREADS.iter().zip(&runs).skip(1) {
            print!(" {:5.1}%", one / run[name] / *threads as f64 * 100.0);
        }
        let cut = &cuts[THREADS.len() - 1][name];
        let sum = |cut: &Cut| cut.tasks.task_seconds.iter().sum::<f64>();
        let longest = cut.tasks.task_seconds.iter().copied().fold(0.0, f64::max);
        println!(
            "  {:>11} {:>6.0}us  {:>5.2}  {:.2} ms",
            cut.tasks.task_seconds.len(),
            longest * 1e6,
            sum(cut) / sum(&cuts[0][name]),
            runs[THREADS.len() - 1][name] * 1e3
        );
    }
    let total = |run: &BTreeMap<_, f64>| run.values().sum::<f64>();
    println!("\n{:>7} {:>10} {:>8} {:>10}", "threads", "encode", "speed-up", "efficiency");
    for (threads, run) in THREADS.iter().zip(&runs) {
        let speed_up = total(&alone) / total(run);
        println!(
            "{threads:>7} {:>7.1} ms {speed_up:>7.1}x {:>8.1} %",
            total(run) * 1e3,
            speed_up / *threads as f64 * 100.0
        );
    }
    let last = THREADS.len() - 1;
    let efficiency = |costs, relay, bandwidth| {
        let run = encode(&cuts[last], &mut Team { relay, ..Team::new(THREADS[last], costs, bandwidth) });
        total(&alone) / total(&run) / THREADS[last] as f64 * 100.0
    };
    println!("{} threads,", THREADS[last]);
    println!("  handing over five times as slow   {:5.1} %", efficiency(costs.times(5.0), true, bandwidth));
    println!("  handing over at no cost           {:5.1} %", efficiency(costs.times(0.0), true, bandwidth));
    println!("  the caller alone wakes the others {:5.1} %", efficiency(costs, false, bandwidth));
    println!("  the same, five times as slow      {:5.1} %", efficiency(costs.times(5.0), false, bandwidth));
    println!("  half the memory bandwidth         {:5.1} %", efficiency(costs, true, bandwidth / 2.0));
    Ok(())
}

/// The backend's own way there and back, beside the parts above.
fn check_hand_over() {
    let kernels = CpuKernels::new(CpuOptions { threads: 2, ..CpuOptions::default() }).expect("a CPU backend");
    let [awake, asleep] = [0, 300].map(|pause| {
        let times = (0..400).map(|_| {
            let wait = Instant::now();
            while wait.elapsed() < Duration::from_micros(pause) {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            kernels.hand_over();
            start.elapsed().as_secs_f64()
        });
        undisturbed(times.collect()) * 1e6
    });
    println!("backend, two threads, no work: {awake:.2} us awake, {asleep:.2} us asleep");
}
