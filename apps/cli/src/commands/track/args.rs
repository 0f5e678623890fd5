//! What `track` is asked for.

use std::path::PathBuf;

use clap::ValueEnum;
use samovar::tracking::{self, MaskRules};

use super::output::Format;
use super::preview;
use super::prompts::PromptArgs;
use crate::cache_args::CacheArgs;
use crate::colour_args::ColourArgs;
use crate::frames::RangeArgs;
use crate::model_args::ModelArgs;

/// Follow objects through a video or a sequence of images, from prompts on some of its frames
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A folder of images, a pattern (shot.####.png, shot.%04d.png), or a video
    #[arg(value_name = "FRAMES")]
    pub frames: PathBuf,
    #[command(flatten)]
    pub prompt: PromptArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub range: RangeArgs,
    #[command(flatten)]
    pub colour: ColourArgs,
    /// Folder of results; the same command goes on where it was stopped, and does anew what changed prompts reach
    #[arg(long, short, value_name = "DIR", required_unless_present = "logits")]
    pub out: Option<PathBuf>,
    /// Write what SAM 2's own predictor would find, unrefined: every prompted frame counts before and behind. safetensors of f32
    /// `frame_<i>.object_<id>` (low-resolution logits) and `frame_<i>.object_<id>.score`
    #[arg(long, value_name = "OUT.safetensors")]
    pub logits: Option<PathBuf>,
    /// What to write of each frame
    #[arg(long, short, value_enum, default_value = "labels")]
    pub format: Format,
    /// Which way objects are followed from their prompts
    #[arg(long, value_enum, default_value = "both")]
    pub direction: Direction,
    /// Objects share no pixel: where masks meet, a locked one has it, else the likelier one
    #[arg(long)]
    pub no_overlap: bool,
    /// Fill holes of at most so many pixels, those too that --no-overlap leaves
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    pub fill_holes: u64,
    /// Remove islands of at most so many pixels, those too that --no-overlap leaves
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    pub remove_islands: u64,
    /// Write all frames that should be looked at, with the reason, as JSON: the score drops, the area jumps, the mask flickers, objects
    /// swap or vanish. The worst are told at the end in any case
    #[arg(long, value_name = "FILE.json")]
    pub signals: Option<PathBuf>,
    /// Also write a video with the masks drawn on it, at the frames' own times: .mp4, .mov, .mkv or .webm, by the system's ffmpeg
    #[arg(long, value_name = "FILE.mp4", requires = "out")]
    pub preview: Option<PathBuf>,
    /// Frames a second of the preview where the frames have no times, as those of sequences
    #[arg(long, value_name = "N", default_value_t = 24.0, value_parser = preview::rate)]
    pub fps: f64,
    /// Keep after so many frames where each object can be gone on with
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub checkpoint_every: u32,
    /// Write over files that samovar has not made or that were changed since, and over the results of another command
    #[arg(long)]
    pub overwrite: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub cache: CacheArgs,
}

impl Args {
    /// How masks are shown.
    pub fn rules(&self) -> MaskRules {
        let &Self { no_overlap, fill_holes, remove_islands, .. } = self;
        MaskRules { no_overlap, fill_holes, remove_islands }
    }
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// To later frames
    Forward,
    /// To earlier frames
    Backward,
    /// Forward from an object's first prompt, and backward to the frames before it
    Both,
}

impl From<Direction> for tracking::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Forward => Self::Forward,
            Direction::Backward => Self::Backward,
            Direction::Both => Self::Both,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  samovar track shot/ --point 420,300 --out masks/                      the object there in the first frame, through all of them
  samovar track shot.####.png --frame 1001 --box 60,40,500,380 --out masks/
  samovar track clip.mp4 --prompts prompts.json --out masks/            many objects, prompts on any frames
  samovar track clip.mp4 --prompts prompts.json --out cut/ --format cutout --start 100 --end 250
  samovar track clip.mp4 --point 420,300 --out masks/ --preview look.mp4  and a video to look at
  samovar track plates/shot.####.exr --frame 1001 --box 60,40,500,380 --colorspace acescg --out masks/
  samovar eval DAVIS/Annotations/480p --masks results/                  how good they are

prompts.json has entries with `frame` (the sequence's own number; a video counts from 0), `object` (1 to 255), and points, a box or a mask:
  {\"prompts\": [{\"frame\": 1001, \"object\": 1, \"points\": [[420, 300, 1], [380, 260, 0]]},
               {\"frame\": 1040, \"object\": 1, \"points\": [[410, 310, 1]]}],
   \"locked\": [{\"object\": 1, \"frames\": [1010, 1011]}]}

To correct a mask, add a prompt on its frame and run the same command again: the latest prompt is what counts there, and only the frames \
of that object that it can change are done anew; which ones did change is said. Locked frames keep the masks that were written, whatever is prompted there and whatever is asked of overlaps, holes and islands: others give way to them, and following goes on from them as from a mask that was given. docs/prompts.md has the details. Objects are \
followed each for itself: adding or removing one leaves the others as they are.

The folder has what the command gives: what earlier runs found beyond that, in other frames, of other objects or the other way, goes, and is \
there again when it is asked for. Results that somebody changed are kept; where others come in their place they are kept under another name, \
which is said. --overwrite loses the changes.

A frame that cannot be read is named and has no masks, the others go on without it, and the exit code is 1; a frame with a prompt has to be read.

Ctrl-C keeps what is finished, and the same command goes on from there. --memory is for this program; the ffmpeg that decodes a video takes its own beside it, \
some 120 MB for 1920x1080 and 300 MB for 3840x2160.";
