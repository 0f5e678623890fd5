//! What is said about objects, and on which frames.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use samovar::media::video::FrameSource;
use samovar::prompt_file::{LockedFrames, MAX_BYTES, PromptFile, PromptFileKind};
use samovar::tracking::{MaskRules, ObjectId, Shot};
use samovar::{Box2, DecodeLimits, Image, MaskPrompt, Prompt, PromptPoint};

use crate::commands::segment::objects::{bounds, existing, point, read_mask};
use crate::failure::usage;
use crate::frames::{self, Named, RangeArgs};
use crate::inputs;

/// What means objects, on frames.
#[derive(clap::Args, Debug, Clone)]
pub struct PromptArgs {
    /// Prompts from a JSON file: {"prompts": [{"frame": 1001, "object": 1, "points": [[x, y, 1]], "box": [x0, y0, x1, y1], "mask": "a.png"}],
    /// "locked": [{"object": 1, "frames": [1010]}]}
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["point", "bounds", "mask", "frame", "object"])]
    prompts: Option<PathBuf>,
    /// A click on the object in pixels; `,0` behind it means "not this". May be given several times
    #[arg(long, short, value_name = "X,Y[,0|1]", value_parser = point, allow_hyphen_values = true)]
    point: Vec<PromptPoint>,
    /// A box around the object, two opposite corners
    #[arg(long = "box", short, value_name = "X0,Y0,X1,Y1", value_parser = bounds, allow_hyphen_values = true)]
    bounds: Option<Box2<Image>>,
    /// The object's mask: an image of the frame's size, white (over 127) is the object, or what a cut-out leaves
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// The frame that the click, box or mask is on, by the sequence's own number [default: the first]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    frame: Option<i64>,
    /// The number of the object, from 1 [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    object: Option<ObjectId>,
}

/// What `--prompts` takes.
const FORM: &str = r#"{"prompts": [{"frame": 0, "object": 1, "points": [[x, y, 1]], "box": [x0, y0, x1, y1], "mask": "a.png"}]}"#;

/// A prompt on a frame.
#[derive(Clone)]
struct Said {
    frame: Option<i64>,
    object: ObjectId,
    label: Option<String>,
    prompt: Prompt,
    /// Where it stands, for errors.
    place: String,
}

/// What objects are called.
pub type Labels = BTreeMap<ObjectId, String>;

/// All that was said.
#[derive(Clone)]
pub struct Prompts {
    said: Vec<Said>,
    locked: Vec<LockedFrames>,
    /// Files of masks that a file of prompts names.
    masks: Vec<PathBuf>,
}

impl PromptArgs {
    /// The files that are read for it.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.prompts.iter().chain(&self.mask).map(PathBuf::as_path)
    }

    /// Reads it, and the masks that it names. `size` is that of all frames.
    pub fn read(&self, size: samovar::Size<Image>, limits: &DecodeLimits) -> Result<Prompts> {
        let Some(path) = &self.prompts else { return self.single(limits) };
        let takes = "--prompts takes a JSON file of prompts";
        let file = PromptFile::parse(&inputs::read_small(path, MAX_BYTES as u64, takes)?);
        let file = file.map_err(|error| {
            // What other commands take has another form.
            let what = error.to_string();
            let what = what.split("; expected ").next().unwrap_or_default();
            usage(format!("\"{}\": {what}; expected {FORM}, see `samovar track --help`", path.display()))
        })?;
        if file.kind != PromptFileKind::Prompts {
            return Err(usage(format!(
                "\"{}\": this is no list of prompts with frames; expected {FORM}, see `samovar track --help`",
                path.display()
            )));
        }
        let without_frame = file.prompts.iter().filter(|entry| entry.frame.is_none()).count();
        if without_frame > 0 && file.prompts.len() > 1 {
            say!(
                "note: \"{}\": {without_frame} of {} prompts name no `frame` and are taken to be on the first",
                path.display(),
                file.prompts.len()
            );
        }
        let without_object = file.prompts.iter().filter(|entry| entry.object.is_none()).count();
        if without_object > 0 && file.prompts.len() > 1 {
            say!(
                "note: \"{}\": {without_object} of {} prompts name no `object` and are taken to be of object 1",
                path.display(),
                file.prompts.len()
            );
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut said = Vec::with_capacity(file.prompts.len());
        let mut masks = Vec::new();
        for entry in &file.prompts {
            let place = format!("\"{}\", {}", path.display(), file.kind.place(entry.row));
            let wrong = |what: String| usage(format!("{place}: {what}"));
            if entry.image.is_some() {
                return Err(wrong("it names an image; in videos it is `frame` that says where".into()));
            }
            entry.check_size(size).map_err(|error| wrong(error.to_string()))?;
            let mask = match &entry.mask {
                Some(mask) => {
                    masks.push(existing(folder, mask));
                    masks.last().map(|mask| read_mask(mask, limits)).transpose()?
                }
                None => entry.drawn(size).map_err(|error| wrong(error.to_string()))?,
            };
            said.push(Said {
                frame: entry.frame,
                object: entry.object.unwrap_or(1),
                label: entry.label.clone(),
                prompt: entry.prompt(mask),
                place,
            });
        }
        Ok(Prompts { said, locked: file.locked, masks })
    }

    fn single(&self, limits: &DecodeLimits) -> Result<Prompts> {
        let mask = self.mask.as_deref().map(|mask| read_mask(mask, limits)).transpose()?;
        if self.point.is_empty() && self.bounds.is_none() && mask.is_none() {
            return Err(usage(
                "nothing to follow; give --prompts FILE.json, or --point X,Y, --box X0,Y0,X1,Y1 or --mask FILE",
            ));
        }
        let mask = mask.map(MaskPrompt::Mask);
        let prompt = Prompt { points: self.point.clone(), bounds: self.bounds, mask, ..Prompt::default() };
        let said = Said {
            frame: self.frame,
            object: self.object.unwrap_or(1),
            label: None,
            prompt,
            place: "the prompt".into(),
        };
        Ok(Prompts { said: vec![said], locked: Vec::new(), masks: Vec::new() })
    }
}

impl Prompts {
    /// The files of masks that a file of prompts names.
    pub fn masks(&self) -> &[PathBuf] {
        &self.masks
    }

    /// Frames that something is said on; `first` is that of prompts that name none.
    pub fn frames(&self, first: i64) -> BTreeSet<i64> {
        let locked = self.locked.iter().flat_map(|locked| locked.frames.iter().copied());
        self.said.iter().map(|said| said.frame.unwrap_or(first)).chain(locked).collect()
    }

    /// What counts among these frames of a range: prompts and locks elsewhere are left out, which is said. `whole` opens all of the shot.
    ///
    /// # Errors
    /// For frames that the shot does not have, for objects without any prompt among these frames, and for locks of objects without prompts.
    pub fn within(
        mut self,
        frames: &mut dyn FrameSource,
        range: &RangeArgs,
        whole: impl Fn() -> Result<Box<dyn FrameSource>>,
    ) -> Result<Self> {
        let first = frames::first(frames)?;
        let advice = "name another frame, or take it in (--start, --end, --every-nth, --max-frames)";
        let mut left_out: BTreeMap<ObjectId, (usize, String)> = BTreeMap::new();
        let mut kept = Vec::with_capacity(self.said.len());
        for said in std::mem::take(&mut self.said) {
            let (frame, object, place) = (said.frame.unwrap_or(first), said.object, &said.place);
            match frames::named(frames, range, frame, &whole)? {
                Named::Taken => kept.push(said),
                Named::Nowhere(why) => {
                    return Err(usage(format!(
                        "{place}: there is no frame {frame}: {why}; name a frame that the shot has"
                    )));
                }
                Named::LeftOut(why) => {
                    let what = format!("{place}: frame {frame} is not among those taken: {why}");
                    left_out.entry(object).or_insert((0, what)).0 += 1;
                }
            }
        }
        let prompted: BTreeSet<ObjectId> = kept.iter().map(|said| said.object).collect();
        for (object, (count, what)) in left_out {
            if !prompted.contains(&object) {
                return Err(usage(format!(
                    "{what}, and object {object} has no prompt on any that is; {advice}"
                )));
            }
            let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
            say!("note: {what}; that prompt of object {object} does not count in this run{more}");
        }
        self.said = kept;
        for LockedFrames { object, frames: locked } in &mut self.locked {
            if !prompted.contains(object) {
                return Err(usage(format!(
                    "`locked` has frames of object {object}, which has no prompt; prompt it, or take its lock away"
                )));
            }
            let (mut taken, mut others) = (Vec::new(), Vec::new());
            for &frame in &*locked {
                match frames::named(frames, range, frame, &whole)? {
                    Named::Taken => taken.push(frame),
                    Named::LeftOut(why) => others.push(format!("frame {frame} ({why})")),
                    Named::Nowhere(why) => {
                        return Err(usage(format!(
                            "`locked` of object {object}: there is no frame {frame}: {why}; name a frame that the shot has"
                        )));
                    }
                }
            }
            *locked = taken;
            if let Some(one) = others.first() {
                let more =
                    if others.len() > 1 { format!(" and {} more", others.len() - 1) } else { String::new() };
                say!(
                    "note: `locked` of object {object}: {one}{more} is not among the frames taken, and does not count in this run"
                );
            }
        }
        self.say_overruled(first);
        Ok(self)
    }

    /// Says which prompts lie on locked frames, where they change nothing.
    fn say_overruled(&self, first: i64) {
        let is_locked = |said: &&Said| {
            let frame = said.frame.unwrap_or(first);
            self.locked.iter().any(|locked| locked.object == said.object && locked.frames.contains(&frame))
        };
        let overruled: Vec<&Said> = self.said.iter().filter(is_locked).collect();
        let Some(one) = overruled.first() else { return };
        let (object, frame) = (one.object, one.frame.unwrap_or(first));
        let more = match overruled.len() {
            1 => String::new(),
            count => format!(" (and {} more such prompts)", count - 1),
        };
        say!(
            "note: {}: object {object} is locked on frame {frame}: its mask there stays, and the prompt changes nothing{more}; take the \
             lock away to correct it",
            one.place
        );
    }

    /// One after the other; `first` is the frame of prompts that name none.
    pub fn list(&self, first: i64) -> Vec<(i64, ObjectId, Prompt)> {
        let one = |said: &Said| (said.frame.unwrap_or(first), said.object, said.prompt.clone());
        self.said.iter().map(one).collect()
    }

    /// What objects are called; the last label of each counts.
    pub fn labels(&self) -> Labels {
        self.said.iter().filter_map(|said| Some((said.object, said.label.clone()?))).collect()
    }

    /// How many objects there are.
    pub fn objects(&self) -> usize {
        let objects: BTreeSet<ObjectId> = self.said.iter().map(|said| said.object).collect();
        objects.len()
    }

    /// Which object is prompted on which frame; `first` is that of prompts that name none.
    pub fn prompted(&self, first: i64) -> impl Iterator<Item = (ObjectId, i64)> {
        self.said.iter().map(move |said| (said.object, said.frame.unwrap_or(first)))
    }

    /// Says all of it. What stands on one frame about one object is taken together: points add up, of boxes and masks the last counts.
    /// `first` is the frame of prompts that name none.
    /// Masks are locked as they were shown, by `rules`.
    pub fn say(self, shot: &mut Shot, first: i64, rules: &MaskRules) -> Result<()> {
        for Said { frame, object, prompt, place, .. } in self.said {
            let frame = frame.unwrap_or(first);
            let before = shot.prompts().find(|(one, at, _)| (*one, *at) == (object, frame));
            let together = match before.map(|(.., before)| before.clone()) {
                None => prompt,
                Some(mut before) => {
                    before.points.extend(prompt.points);
                    before.bounds = prompt.bounds.or(before.bounds);
                    before.mask = prompt.mask.or(before.mask);
                    before
                }
            };
            shot.prompt(frame, object, &together).map_err(|error| usage(format!("{place}: {error}")))?;
        }
        let mut locked: BTreeMap<i64, Vec<ObjectId>> = BTreeMap::new();
        for LockedFrames { object, frames } in self.locked {
            frames.into_iter().for_each(|frame| locked.entry(frame).or_default().push(object));
        }
        for (frame, objects) in locked {
            shot.lock_as_shown(frame, &objects, rules)?;
        }
        Ok(())
    }
}
