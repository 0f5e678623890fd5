//! The samovar command line.
//!
//! | module | what |
//! |---|---|
//! | [`commands`] | one file per command: its arguments, its help, its work |
//! | [`model_args`] | arguments that choose model and engine |
//! | [`batch`] | many images: what is done, what is skipped, what failed |
//! | [`result_folder`] | a folder of results, and what makes them |
//! | [`record`] | which files of such a folder are ours, and what they were made from |
//! | [`contents`] | what files of a run hold |
//! | [`shard`] | a part of the images, for one machine of several |
//! | [`job_args`] | arguments of commands that work through many images |
//! | [`meant`] | words that were probably meant by others |
//! | [`made`] | files that were written one by one |
//! | [`results`] | what masks are written as: one table of formats, one writer |
//! | [`cache_args`] | arguments about what is kept from one run to the next |
//! | [`inputs`] | images and folders from the command line |
//! | [`outputs`] | places from the command line that results go to |
//! | [`progress`] | progress bars on stderr, and the same told to `samovar top` |
//! | [`interrupt`] | signals that ask for an end: what is finished is kept, nothing else is left behind |
//! | [`environment`] | all variables of the environment that are read |
//! | [`machine`] | what else the machine does |
//! | [`settings`] | presets, and what they, the environment and flags say together |
//! | [`say`](mod@say) | lines for people on stderr |
//! | [`failure`] | errors and exit codes: 0 done, 1 failed, 2 wrong usage |

#![deny(clippy::print_stderr, clippy::print_stdout)]

#[macro_use]
mod say;

mod batch;
mod cache_args;
mod colour_args;
mod commands;
mod contents;
mod environment;
mod failure;
mod frames;
mod inputs;
mod interrupt;
mod job_args;
mod machine;
mod made;
mod meant;
mod model_args;
mod outputs;
mod planned;
mod progress;
mod record;
mod result_folder;
mod results;
mod session;
mod settings;
mod shard;

use std::panic;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use samovar::resources::memory::{WithReserve, keep_one_heap};

#[global_allocator]
static ALLOCATOR: WithReserve = WithReserve::new();

/// Cut objects out of images with Segment Anything models.
#[derive(Parser)]
#[command(name = "samovar", version, arg_required_else_help = true, after_help = after_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  samovar segment photo.jpg --point 420,300 --out cutout.png
  samovar everything photo.jpg --overlay
  samovar track shot/ --point 420,300 --out masks/
  samovar models pull facebook/sam-vit-base
  samovar segment photo.jpg --model facebook/sam-vit-base --box 60,40,500,380
";

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage.";

fn after_help() -> String {
    format!("{EXAMPLES}\n{}\n\n{EXIT_CODES}", environment::help())
}

#[derive(Subcommand)]
enum Command {
    Segment(commands::segment::Args),
    Track(commands::track::Args),
    Everything(commands::everything::Args),
    Pipeline(commands::pipeline::Args),
    Forward(commands::forward::Args),
    Plan(commands::plan::Args),
    Bench(commands::bench::Args),
    Profile(commands::profile::Args),
    Models(commands::models::Args),
    Quantize(commands::quantize::Args),
    Doctor(commands::doctor::Args),
    Eval(commands::eval::Args),
    Cache(commands::cache::Args),
    Job(commands::job::Args),
    Config(commands::config::Args),
    Top(commands::top::Args),
}

/// A decoder's panic is an error of its file, which is said like any other; a stack trace beside it helps nobody.
fn keep_decoders_quiet() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !samovar::media::image::is_decoding() {
            hook(info);
        }
    }));
}

fn main() -> ExitCode {
    let start = Instant::now();
    keep_one_heap();
    keep_decoders_quiet();
    interrupt::outlive_limits_of_files();
    let command = Cli::parse().command;
    for words in environment::unknown() {
        say!("note: {}", say::one_line(&words));
    }
    let result = match command {
        Command::Segment(args) => commands::segment::run(&args),
        Command::Track(args) => commands::track::run(&args),
        Command::Everything(args) => commands::everything::run(&args),
        Command::Pipeline(args) => commands::pipeline::run(&args),
        Command::Forward(args) => commands::forward::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Bench(args) => commands::bench::run(&args, start),
        Command::Profile(args) => commands::profile::run(&args),
        Command::Models(args) => commands::models::run(&args),
        Command::Quantize(args) => commands::quantize::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Cache(args) => commands::cache::run(&args),
        Command::Job(args) => commands::job::run(&args),
        Command::Config(args) => commands::config::run(&args),
        Command::Top(args) => commands::top::run(&args),
    };
    failure::exit_code(result)
}
