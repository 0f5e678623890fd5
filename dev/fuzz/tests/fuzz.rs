//! Every target on its corpus and on a fixed sequence of mutations of it.

use std::time::Duration;

use samovar_fuzz::{Harness, MeteredAllocator, Mutator, TARGETS};

#[global_allocator]
static ALLOCATOR: MeteredAllocator = MeteredAllocator;

const SEED: u64 = 1;
const MUTATIONS: u64 = 20_000;
/// Whichever comes first; a debug build does fewer.
const MAX_TIME: Duration = Duration::from_secs(3);

fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    if let Err(failure) = Harness::new(target).run(SEED, MUTATIONS, MAX_TIME) {
        panic!("{failure}; the input is\n{}", failure.input.escape_ascii());
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })*

        #[test]
        fn every_target_is_tested() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets!(
    safetensors torch_zip torch_pickle torch_growth image tiff exr labels segpack rle config preprocessor coco prompts
);

#[test]
fn a_seed_makes_the_same_inputs_again() {
    let seeds = [b"{\"a\": 12}".to_vec(), vec![0; 40]];
    let inputs = |mut mutator: Mutator| (0..200).map(|_| mutator.next_input(&seeds)).collect::<Vec<_>>();
    assert_eq!(inputs(Mutator::new(7)), inputs(Mutator::new(7)));
    assert_ne!(inputs(Mutator::new(7)), inputs(Mutator::new(8)));
}

/// A harness that finds nothing in a broken parser would make all of the above worthless.
mod the_harness_finds {
    use super::*;
    use samovar_fuzz::Target;

    fn found(run: fn(&[u8])) -> String {
        // The seeds of a real target; what they hold does not matter here.
        let target =
            Box::leak(Box::new(Target { name: "rle", run, memory_bytes: 1 << 20, memory_factor: 0 }));
        Harness::new(target).run(SEED, MUTATIONS, MAX_TIME).unwrap_err().what
    }

    #[test]
    fn panics() {
        assert!(found(|data| assert!(data.len() < 100, "too long")).contains("panicked: too long"));
    }

    #[test]
    fn memory_on_the_files_word_alone() {
        assert!(found(|data| drop(vec![1u8; data.len() << 20])).contains("are allowed"));
    }
}
