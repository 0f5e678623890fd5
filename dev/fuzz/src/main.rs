//! Fuzzes with seeded mutations, on stable Rust, for as long as one likes.

use std::fs;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use samovar_fuzz::{Harness, MeteredAllocator, TARGETS};

#[global_allocator]
static ALLOCATOR: MeteredAllocator = MeteredAllocator;

const USAGE: &str = "usage: samovar-fuzz [--seconds N] [--seed N] [TARGET…]";

fn main() -> ExitCode {
    let (mut seconds, mut seed, mut names) = (10, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
        match argument.as_str() {
            "--seconds" => match number() {
                Some(number) => seconds = number,
                None => return usage(),
            },
            "--seed" => match number() {
                Some(number) => seed = Some(number),
                None => return usage(),
            },
            name if TARGETS.iter().any(|target| target.name == name) => names.push(argument),
            _ => return usage(),
        }
    }
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let seed = seed.unwrap_or_else(clock);
    println!("seed {seed}");
    panic::set_hook(Box::new(|_| ()));

    let mut is_clean = true;
    for target in
        TARGETS.iter().filter(|target| names.is_empty() || names.iter().any(|name| name == target.name))
    {
        match Harness::new(target).run(seed, u64::MAX >> 1, Duration::from_secs(seconds)) {
            Ok(report) => println!(
                "{:14} {:9} inputs, slowest {:.1?}, most memory {} KiB",
                target.name,
                report.inputs,
                report.slowest,
                report.peak_bytes >> 10
            ),
            Err(failure) => {
                is_clean = false;
                let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("findings");
                let path = folder.join(format!("{}-{seed}", target.name));
                let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &failure.input));
                println!("{failure}; the input is {} ({kept:?})", path.display());
            }
        }
    }
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    eprintln!("{USAGE}\ntargets: {}", names.join(" "));
    ExitCode::from(2)
}
