//! A shot: frames, what is said about objects on some of them, and the walk that follows the objects through the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use samovar_media::video::{self, Frame, FrameNumber, FrameSource};
use samovar_resources::contents::{Key, KeyBuilder};
use samovar_tensor::SetAside;

use super::carried::Carried;
use super::carrier::{Ask, Carrier, ObjectId};
use super::log::{Pass, TrackLog};
use super::mask::TrackedMask;
use super::needs::ShotNeeds;
use super::overlap::MaskRules;
use super::reach::{Reach, key_of_mask, key_of_prompt};
use super::remembering::Remembering;
use super::tracked::{News, TrackedFrame, TrackedObject};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::picture_bytes::PictureUse;
use crate::prompt::Prompt;

/// Most objects in a shot: as many labels as a map of 8 bits has.
pub const MAX_OBJECTS: usize = 255;

/// Which way objects are followed from their prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// To later frames.
    #[default]
    Forward,
    /// To earlier frames; these come in that order.
    Backward,
    /// Forward from an object's first prompt, and backward to the frames before it. Frames come in their own order.
    Both,
}

impl Direction {
    /// Whether objects that are prompted on these frames are also followed backward, through a shot that begins with `first`.
    pub fn goes_back(
        self,
        prompted: impl Iterator<Item = (ObjectId, FrameNumber)>,
        first: Option<FrameNumber>,
    ) -> bool {
        if self != Self::Both {
            return self == Self::Backward;
        }
        let mut firsts: BTreeMap<ObjectId, FrameNumber> = BTreeMap::new();
        for (object, frame) in prompted {
            firsts.entry(object).and_modify(|before| *before = frame.min(*before)).or_insert(frame);
        }
        firsts.into_values().any(|frame| first.is_none_or(|first| frame > first))
    }
}

/// How a shot is followed.
#[derive(Debug, Clone)]
pub struct ShotOptions {
    /// The file that what was found is kept in, from one run to the next; `None` for one that ends with the shot.
    pub log: Option<PathBuf>,
    /// After so many frames it is kept where each object can be gone on with.
    pub checkpoint_every: u32,
    /// What tells these frames from others that may have the same numbers: files, times, a range.
    pub source: Key,
}

impl Default for ShotOptions {
    fn default() -> Self {
        Self { log: None, checkpoint_every: 32, source: Key::of_content(b"") }
    }
}

/// What was said about one object, by frame.
#[derive(Debug, Clone, Default)]
struct Said {
    prompts: BTreeMap<i64, Prompt>,
    /// Masks that stay as they are.
    locked: BTreeMap<i64, TrackedMask>,
}

impl Said {
    fn first(&self) -> Option<i64> {
        self.prompts.keys().next().copied()
    }

    fn ask(&self, frame: i64) -> Ask<'_> {
        match (self.locked.get(&frame), self.prompts.get(&frame)) {
            (Some(mask), _) => Ask::Adopt(mask.mask()),
            (None, Some(prompt)) => Ask::Answer(prompt),
            (None, None) => Ask::Follow,
        }
    }
}

/// Frames, and what is said about objects on some of them. Objects know nothing of each other: to add, correct or remove one leaves
/// what was found of the others as it is, to the bit.
pub struct Shot {
    model: Model,
    source: Box<dyn FrameSource>,
    said: BTreeMap<ObjectId, Said>,
    log: TrackLog,
    /// Lives as long as the log.
    _temporary: Option<tempfile::TempDir>,
    /// Of model and frames.
    base: Key,
    checkpoint_every: u32,
}

impl Model {
    /// Objects through these frames: a video, a sequence, a camera ([`samovar_media::video`]).
    ///
    /// # Errors
    /// [`Error::File`] where what is found cannot be kept.
    pub fn open_video(&self, frames: Box<dyn FrameSource>, options: &ShotOptions) -> Result<Shot> {
        let temporary = match options.log {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(|error| Error::File {
                path: "temporary files".into(),
                what: "what is found cannot be kept here".into(),
                source: Some(error),
            })?),
        };
        let place = match (&options.log, &temporary) {
            (Some(log), _) => log.clone(),
            (None, Some(folder)) => folder.path().join("track"),
            (None, None) => unreachable!("one of them is there"),
        };
        let log = TrackLog::open(Path::new(&place), (self.grid_size(), self.resize_rule()))?;
        let base = KeyBuilder::new("samovar shot 2")
            .part("version", env!("CARGO_PKG_VERSION"))
            .part("model", self.name())
            .part("precision", self.precision().to_string())
            .part("cleans up", [u8::from(self.cleans_up())])
            .part("remembers", [u8::from(self.can_track())])
            .part("source", options.source.as_bytes())
            .finish();
        Ok(Shot {
            model: self.clone(),
            source: frames,
            said: BTreeMap::new(),
            log,
            _temporary: temporary,
            base,
            checkpoint_every: options.checkpoint_every.max(1),
        })
    }
}

impl Shot {
    /// Says where an object is on a frame; what was said about it there before is forgotten. Coordinates are pixels of the frame.
    ///
    /// # Errors
    /// [`Error::Usage`] for a prompt without content, and for more objects than [`MAX_OBJECTS`]. What does not fit the frame shows when it
    /// is its turn.
    pub fn prompt(&mut self, frame: i64, object: ObjectId, prompt: &Prompt) -> Result<()> {
        if object == 0 || object as usize > MAX_OBJECTS {
            return Err(Error::usage(format!(
                "object {object}: objects have numbers from 1 to {MAX_OBJECTS}"
            )));
        }
        if prompt.points.is_empty() && prompt.bounds.is_none() && prompt.mask.is_none() {
            return Err(Error::usage(format!(
                "frame {frame}, object {object}: an empty prompt; give a point, a box or a mask"
            )));
        }
        self.said.entry(object).or_default().prompts.insert(frame, prompt.clone());
        Ok(())
    }

    /// All that was said: object, frame, prompt.
    pub fn prompts(&self) -> impl Iterator<Item = (ObjectId, i64, &Prompt)> {
        let of = |(&object, said): (&ObjectId, &'_ Said)| -> Vec<(ObjectId, i64)> {
            said.prompts.keys().map(|&frame| (object, frame)).collect()
        };
        let all: Vec<_> = self.said.iter().flat_map(of).collect();
        all.into_iter().map(|(object, frame)| (object, frame, &self.said[&object].prompts[&frame]))
    }

    /// Takes back what was said about an object on a frame; says whether anything was.
    pub fn remove_prompt(&mut self, frame: i64, object: ObjectId) -> bool {
        let Some(said) = self.said.get_mut(&object) else { return false };
        let removed = said.prompts.remove(&frame).is_some();
        if said.prompts.is_empty() {
            self.said.remove(&object);
        }
        removed
    }

    /// Forgets an object; says whether it was there.
    pub fn remove_object(&mut self, object: ObjectId) -> bool {
        self.said.remove(&object).is_some()
    }

    /// The objects.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> {
        self.said.keys().copied()
    }

    /// Has an object's mask on a frame stay as it was found, whatever is corrected elsewhere; following goes on from it.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing was found of it yet.
    pub fn lock(&mut self, frame: i64, object: ObjectId) -> Result<()> {
        self.lock_as_shown(frame, &[object], &MaskRules::default())
    }

    /// Has objects' masks on a frame stay as they were shown: as they were found there, by these rules. Those that an earlier run locked are
    /// what they were then.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing was found of one of them yet.
    pub fn lock_as_shown(&mut self, frame: i64, objects: &[ObjectId], rules: &MaskRules) -> Result<()> {
        let mut shown = Vec::new();
        for &object in self.said.keys() {
            for pass in [Pass::Forward, Pass::Backward] {
                if let Some(found) = self.log.found(object, frame, pass)? {
                    let is_locked = self.log.is_locked(object, frame, pass)?;
                    shown.push(TrackedObject::of(found, false, is_locked, News::Known));
                    break;
                }
            }
        }
        rules.apply(&mut shown)?;
        for &object in objects {
            let found = shown.iter().find(|shown| shown.object == object);
            let (Some(found), Some(said)) = (found, self.said.get_mut(&object)) else {
                return Err(Error::usage(format!(
                    "frame {frame}, object {object}: nothing was found there yet that could be locked; track first"
                )));
            };
            said.locked.insert(frame, found.mask.clone());
        }
        Ok(())
    }

    /// Damaged records of earlier runs that were left out.
    pub fn damaged_records(&self) -> usize {
        self.log.damaged
    }

    /// The frames, for what they tell of themselves.
    pub fn source(&mut self) -> &mut dyn FrameSource {
        &mut *self.source
    }

    fn goes_back(&self, direction: Direction) -> bool {
        let prompted = self.prompts().map(|(object, frame, _)| (object, frame));
        direction.goes_back(prompted, self.source.number_at(0))
    }

    /// Room for frames that come in a direction, and for masks of the objects.
    fn room(&self, way: video::Direction) -> Result<SetAside> {
        let has_memory = self.model.can_track();
        let needs = ShotNeeds::of(&*self.source, &[way], self.said.len(), has_memory, PictureUse::Encoding);
        let what = format!("following objects through frames of {}", self.source.size());
        self.model.engine().set_aside(&what, needs.while_following_bytes())
    }

    fn reach(&self, object: ObjectId, pass: Pass, only_first: bool) -> Option<Reach> {
        let said = self.said.get(&object)?;
        let prompts = said.prompts.iter().map(|(&frame, prompt)| (frame, key_of_prompt(prompt)));
        let (first, only) = (said.first()?, if only_first { 1 } else { usize::MAX });
        let locks = said.locked.iter().filter(|(frame, _)| !only_first || **frame < first);
        // A mask that stays says more than what was asked there.
        let locks = locks.map(|(&frame, mask)| (frame, key_of_mask(mask.mask())));
        let mut fixed: BTreeMap<i64, Key> = prompts.take(only).collect();
        fixed.extend(locks);
        Reach::of(object, pass, self.base, fixed.into_iter(), &self.log)
    }

    /// A hash of all that decides what is found in frames: as long as it stays, so do the masks, to the bit.
    pub fn keys(&self, direction: Direction) -> FrameKeys {
        let pass = if direction == Direction::Backward { Pass::Backward } else { Pass::Forward };
        let reaches = self.said.keys().map(|&object| {
            let behind = (direction == Direction::Both).then(|| self.reach(object, Pass::Backward, true));
            [self.reach(object, pass, false), behind.flatten()]
        });
        FrameKeys { reaches: reaches.collect() }
    }

    /// What was found of a frame before, by the keys of [`Shot::keys`]; nothing is computed, and what is not known is not there.
    ///
    /// # Errors
    /// [`Error::File`] where the record cannot be read.
    pub fn known(&mut self, keys: &FrameKeys, frame: FrameNumber) -> Result<Vec<TrackedObject>> {
        let mut objects = Vec::new();
        for reach in keys
            .reaches
            .iter()
            .flat_map(|both| both.iter().flatten().find(|reach| reach.key(frame).is_some()))
        {
            let (object, Some(key)) = (reach.object, reach.key(frame)) else { continue };
            let said = &self.said.get(&object);
            let is_locked = said.is_some_and(|said| said.locked.contains_key(&frame));
            let is_prompted = is_locked || said.is_some_and(|said| said.prompts.contains_key(&frame));
            if self.log.has(object, frame, reach.pass, key)
                && let Some(found) = self.log.found(object, frame, reach.pass)?
            {
                objects.push(TrackedObject::of(found, is_prompted, is_locked, News::Known));
            }
        }
        Ok(objects)
    }

    /// Follows the objects through the frames, which come one by one; what an earlier run found and nothing has changed since is
    /// read and not computed. What was found is kept as it comes.
    ///
    /// # Errors
    /// [`Error::Usage`] without prompts, and of a source that cannot go where this direction has to; the frames' own errors come
    /// with them.
    pub fn propagate(&mut self, direction: Direction) -> Result<Propagation<'_>> {
        self.propagate_from(direction, None, &mut |_| true)
    }

    /// The same from a frame on in the direction of travel, if that is known from an earlier run; frames before it that have to be walked
    /// through all the same come too. `told` hears of frames that do not come yet ([`Direction::Both`] walks back first), and says whether to
    /// go on.
    ///
    /// # Errors
    /// As [`Shot::propagate`], and [`Error::Stopped`].
    pub fn propagate_from(
        &mut self,
        direction: Direction,
        from: Option<FrameNumber>,
        told: &mut dyn FnMut(&TrackedFrame) -> bool,
    ) -> Result<Propagation<'_>> {
        if self.said.is_empty() {
            return Err(Error::usage("nothing was said about any object; prompt at least one on one frame"));
        }
        if direction == Direction::Both && self.goes_back(direction) {
            let mut back = Propagation::new(self, Pass::Backward, true, None)?;
            back.is_silent = true;
            while let Some(frame) = back.advance()? {
                if !told(&frame) {
                    back.keep()?;
                    return Err(Error::Stopped);
                }
            }
        }
        let pass = if direction == Direction::Backward { Pass::Backward } else { Pass::Forward };
        let mut forward = Propagation::new(self, pass, false, from)?;
        forward.joins_backward = direction == Direction::Both;
        Ok(forward)
    }
}

/// What decides what is found in frames; see [`Shot::keys`].
pub struct FrameKeys {
    /// Of each object, in the direction that was asked for, and behind its first prompt.
    reaches: Vec<[Option<Reach>; 2]>,
}

impl FrameKeys {
    /// How many objects are followed through a frame. Of fewer that come with it, the others are not known: an earlier run could not read the
    /// frame, or what it kept is damaged, and where this one goes on lies beyond.
    pub fn objects(&self, frame: FrameNumber) -> usize {
        let reaches =
            |both: &&[Option<Reach>; 2]| both.iter().flatten().any(|reach| reach.key(frame).is_some());
        self.reaches.iter().filter(reaches).count()
    }

    /// Of all objects in a frame.
    pub fn of(&self, frame: FrameNumber) -> Key {
        let key_of =
            |reach: &Option<Reach>| reach.as_ref().and_then(|reach| Some((reach.object, reach.key(frame)?)));
        let found =
            self.reaches.iter().filter_map(|[ahead, behind]| key_of(ahead).or_else(|| key_of(behind)));
        let builder = found.fold(KeyBuilder::new("samovar frame 1"), |builder, (object, key)| {
            builder.part("object", object.to_le_bytes()).part("key", key.as_bytes())
        });
        builder.finish()
    }
}

/// The walk through the frames of a shot.
pub struct Propagation<'s> {
    shot: &'s mut Shot,
    pass: Pass,
    carrier: Box<dyn Carrier>,
    reaches: Vec<Reach>,
    /// Of objects before their first prompt, where the walk forward is joined with the one backward.
    behind: Vec<Reach>,
    joins_backward: bool,
    /// Whether nobody wants what is found now: it is kept.
    is_silent: bool,
    last: Option<i64>,
    frames: u32,
    has_ended: bool,
    /// For frames, and what is kept of objects beside the carrier's own.
    _room: SetAside,
}

impl<'s> Propagation<'s> {
    fn new(shot: &'s mut Shot, pass: Pass, only_first: bool, from: Option<FrameNumber>) -> Result<Self> {
        let objects: Vec<ObjectId> = shot.said.keys().copied().collect();
        let reaches: Vec<Reach> =
            objects.iter().filter_map(|&object| shot.reach(object, pass, only_first)).collect();
        let behind = objects.iter().filter_map(|&object| shot.reach(object, Pass::Backward, true)).collect();
        let way = match pass {
            Pass::Forward => video::Direction::Forward,
            Pass::Backward => video::Direction::Backward,
        };
        let room = shot.room(way)?;
        let carrier: Box<dyn Carrier> = match shot.model.can_track() {
            true => {
                let (size, source) = (shot.source.size(), &mut shot.source);
                Box::new(Remembering::new(&shot.model, size, |most| Ok(source.count_up_to(most)?))?)
            }
            false => Box::new(Carried::new(&shot.model)),
        };
        match pass {
            Pass::Forward => {
                let begins = reaches.iter().filter_map(Reach::begins).min();
                let from = from.map(|from| begins.map_or(from, |begins| begins.min(from)));
                // What an earlier run has found may lie beyond a narrower range.
                let from = from.filter(|from| shot.source.place(*from).is_some());
                shot.source.start(from, video::Direction::Forward)?;
            }
            Pass::Backward => {
                // Behind the last prompt there is nothing to find.
                let begins = reaches.iter().filter_map(Reach::begins).max();
                let first = reaches.iter().filter_map(Reach::first).max();
                let from = if from.is_some() || only_first { begins.max(from) } else { first };
                shot.source.start(from, video::Direction::Backward)?;
            }
        }
        Ok(Self {
            shot,
            pass,
            carrier,
            reaches,
            behind,
            joins_backward: false,
            is_silent: false,
            last: None,
            frames: 0,
            has_ended: false,
            _room: room,
        })
    }

    fn advance(&mut self) -> Result<Option<TrackedFrame>> {
        let Some(frame) = self.shot.source.next()? else {
            self.end()?;
            return Ok(None);
        };
        let objects = self.objects(&frame).map_err(|error| at_frame(error, frame.number))?;
        (self.last, self.frames) = (Some(frame.number), self.frames.wrapping_add(1));
        if self.frames.is_multiple_of(self.shot.checkpoint_every) {
            self.checkpoint(frame.number)?;
        }
        let Frame { number, time, pixels } = frame;
        Ok(Some(TrackedFrame { number, time, pixels, objects }))
    }

    fn objects(&mut self, frame: &Frame) -> Result<Vec<TrackedObject>> {
        let (number, pass) = (frame.number, self.pass);
        let shot = &mut *self.shot;
        let open: Vec<ObjectId> =
            self.reaches.iter().filter(|reach| reach.is_open(number)).map(|reach| reach.object).collect();
        for object in &open {
            if let Some(prompt) = shot.said[object].prompts.get(&number) {
                let checked = prompt.check(frame.pixels.size(), shot.model.grid_size());
                checked.map_err(|error| Error::usage(format!("object {object}: {error}")))?;
            }
        }
        let asked: Vec<(ObjectId, Ask)> =
            open.iter().map(|&object| (object, shot.said[&object].ask(number))).collect();
        let begins = |reach: &Reach| reach.state == Some(number);
        // A frame on which nobody is followed matters only if somebody is from there on.
        let mut computed = match asked.is_empty() && !self.reaches.iter().any(begins) {
            true => Vec::new(),
            false => self.carrier.step(frame, &asked)?,
        };
        for reach in self.reaches.iter().filter(|reach| begins(reach)) {
            if let Some(state) = shot.log.state(reach.object, number, pass)? {
                self.carrier.restore(reach.object, &state)?;
            }
        }
        computed.reverse();
        let mut objects = Vec::new();
        for (index, reach) in self.reaches.iter().enumerate() {
            let object = reach.object;
            let said = &shot.said[&object];
            let locked = said.locked.get(&number);
            let is_locked = locked.is_some();
            let Some(key) = reach.key(number) else {
                let behind = &self.behind[index];
                if self.joins_backward
                    && let Some(key) = behind.key(number)
                    && shot.log.has(object, number, Pass::Backward, key)
                    && let Some(found) = shot.log.found(object, number, Pass::Backward)?
                {
                    objects.push(TrackedObject::of(found, is_locked, is_locked, News::Known));
                }
                continue;
            };
            let is_prompted = is_locked || said.prompts.contains_key(&number);
            if !open.contains(&object) {
                if let Some(found) = shot.log.found(object, number, pass)?.filter(|_| !self.is_silent) {
                    objects.push(TrackedObject::of(found, is_prompted, is_locked, News::Known));
                }
                continue;
            }
            let Some(mut found) = computed.pop() else { break };
            if let Some(locked) = locked {
                found.mask = locked.clone();
            }
            let has_it = shot.log.has(object, number, pass, key);
            let mut news = News::Known;
            if !has_it {
                news = match shot.log.found(object, number, pass)? {
                    Some(before) if before.mask.mask() == found.mask.mask() => News::Known,
                    Some(_) => News::Changed,
                    None => News::Found,
                };
                shot.log.keep(&found, is_locked, number, pass, key)?;
            }
            objects.push(TrackedObject::of(found, is_prompted, is_locked, news));
        }
        Ok(objects)
    }

    /// Keeps where objects can be gone on with.
    fn checkpoint(&mut self, frame: i64) -> Result<()> {
        let mut any = false;
        for reach in self.reaches.iter().filter(|reach| reach.is_open(frame)) {
            let Some(key) = reach.key(frame) else { continue };
            let state = self.carrier.save(reach.object)?;
            self.shot.log.keep_state(reach.object, frame, self.pass, key, &state)?;
            any = true;
        }
        if any { self.shot.log.sync() } else { Ok(()) }
    }

    /// Keeps where each object can be gone on with after the last frame that came: for whoever stops here.
    ///
    /// # Errors
    /// [`Error::File`] where that cannot be kept.
    pub fn keep(&mut self) -> Result<()> {
        self.last.map_or(Ok(()), |last| self.checkpoint(last))
    }

    fn end(&mut self) -> Result<()> {
        let had_ended = std::mem::replace(&mut self.has_ended, true);
        self.last.filter(|_| !had_ended).map_or(Ok(()), |last| self.checkpoint(last))
    }
}

fn at_frame(error: Error, frame: i64) -> Error {
    match error {
        Error::Usage(what) => Error::Usage(format!("frame {frame}: {what}")),
        other => other,
    }
}

impl Iterator for Propagation<'_> {
    type Item = Result<TrackedFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let advanced = self.advance();
        self.has_ended |= advanced.is_err();
        advanced.transpose()
    }
}
