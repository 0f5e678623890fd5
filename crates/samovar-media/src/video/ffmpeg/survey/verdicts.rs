//! Which frames of a damaged video are good: from its packets, in the order of decoding, and the frames that came of them.
//!
//! A frame is not good if its own packet is damaged, if the frames that it is predicted from may be (all from a damaged packet on to the next key
//! frame in the order of decoding, and what is shown before that key frame but decoded behind it), or if nothing came of its packet. Such frames
//! have their place among the numbers all the same. Where a packet is refused as a whole, damage may begin in the one before it, which decoders do not
//! always notice.

use std::collections::{BTreeMap, VecDeque};

/// Compressed data of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Packet {
    /// When its frame is shown, in the file's own units.
    pub(super) time_stamp: Option<i64>,
    /// When it is decoded.
    pub(super) decoding_time: Option<i64>,
    /// Whether nothing before it is needed.
    pub(super) is_key: bool,
    /// Whether the file itself says that it is damaged.
    pub(super) is_corrupt: bool,
}

/// A frame that came, after the packet that was read last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// That of its packet.
    pub(super) time_stamp: Option<i64>,
    /// The one that it is shown at, which is guessed where its own is not to be believed.
    pub(super) shown_at: Option<i64>,
    pub(super) is_key: bool,
    /// What was complained of while the packets since the frame before were decoded.
    pub(super) complaint: Option<String>,
}

/// A frame of the video, whether it can be had or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::video::ffmpeg) struct Slot {
    pub(in crate::video::ffmpeg) time_stamp: Option<i64>,
    /// Which of the frames that come it is, from 0, if it is good.
    pub(in crate::video::ffmpeg) came: Option<usize>,
    /// What is wrong with it.
    pub(in crate::video::ffmpeg) damage: Option<String>,
}

/// A frame as it comes of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::video::ffmpeg) struct Came {
    /// Index of its slot, if it is good.
    pub(in crate::video::ffmpeg) slot: Option<usize>,
    pub(in crate::video::ffmpeg) shown_at: Option<i64>,
    pub(in crate::video::ffmpeg) is_key: bool,
}

/// What is known before the packets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beforehand {
    /// Whether something was complained of before the first frame came: of which packet is not known then.
    pub(super) begins_damaged: bool,
    /// Whether parts of the file make no sense, so that packets may be missing.
    pub(super) misses_packets: bool,
    /// Whether the file ends before its end.
    pub(super) is_cut: bool,
}

/// A packet whose frame has no slot yet.
#[derive(Debug, Default)]
struct Pending {
    came: Option<usize>,
    damage: Option<String>,
}

/// Takes packets and frames as they come, and gives slots in the order in which they are shown.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    beforehand: Beforehand,
    slots: Vec<Slot>,
    came: Vec<Came>,
    /// By time stamps.
    pending: BTreeMap<i64, Pending>,
    /// The packet that was read last, and the one before it.
    last: Option<Packet>,
    before: Option<Packet>,
    /// The time of a good frame whose packet was read last: whether the next is refused is not known yet.
    held: Option<i64>,
    /// Whether a frame has come since.
    has_come: bool,
    /// Packets that were read.
    packets: usize,
    /// Which packet the first key frame has, from 1, and when that is shown.
    first_key_packet: Option<usize>,
    first_key: Option<i64>,
    /// When the key frame is shown whose packet was read last.
    last_key: Option<i64>,
    /// Why frames that are predicted from what was decoded last are not good.
    broken: Option<String>,
    /// The same for frames that are shown before this time, behind a key frame.
    leading: Option<(Option<i64>, String)>,
    /// Whether time stamps are missing, so that slots are the frames that come.
    is_by_order: bool,
    /// Of key packets whose frames have not come, which packets they are, from 1.
    keys: VecDeque<usize>,
    /// The last damaged packet, by order.
    broken_packet: usize,
    steps: Steps,
}

/// Between neighbours that are good, in time.
#[derive(Debug, Default)]
struct Steps {
    least: i64,
    most: i64,
    sum: i64,
    count: i64,
}

impl Steps {
    fn add(&mut self, step: i64) {
        if step <= 0 || step > i64::MAX / 1_000_000 {
            return;
        }
        (self.least, self.most) = match self.count {
            0 => (step, step),
            _ => (self.least.min(step), self.most.max(step)),
        };
        (self.sum, self.count) = (self.sum.saturating_add(step), self.count + 1);
    }

    /// Whether two packets are too near each other for both to be frames: fields, and data that is never shown.
    fn are_one(&self, a: i64, b: i64) -> bool {
        self.count > 0 && a.abs_diff(b).saturating_mul(10) < self.least.unsigned_abs() * 6
    }

    /// Frames that are missing between two, where the rate does not vary.
    fn missing(&self, a: i64, b: i64) -> u64 {
        /// Longer holes are none that one can count frames of.
        const MOST: u64 = 10_000;
        let is_constant = self.count > 1 && self.most - self.least <= (self.least / 10).max(1);
        if !is_constant || b <= a {
            return 0;
        }
        let steps = b.abs_diff(a) as f64 * self.count as f64 / self.sum as f64;
        let missing = (steps.round() as u64).saturating_sub(1);
        if missing > MOST { 0 } else { missing }
    }

    fn time(&self, a: i64, steps: u64) -> i64 {
        a.saturating_add((steps as f64 * self.sum as f64 / self.count as f64).round() as i64)
    }
}

const LOST: &str = "no picture came of its data";
const MISSING: &str = "its data is missing in the file";

impl Verdicts {
    pub(super) fn new(beforehand: Beforehand) -> Self {
        Self { beforehand, ..Self::default() }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Frames that it is decided of whether they are good.
    pub(super) fn came(&self) -> &[Came] {
        &self.came[..self.came.len() - usize::from(self.held.is_some())]
    }

    /// Whether the first packet is none of a key frame.
    pub(super) fn begins_in_the_middle(&self) -> bool {
        self.first_key_packet != Some(1)
    }

    /// The next packet.
    pub(super) fn packet(&mut self, packet: Packet) {
        self.miss_call(Some(&packet));
        self.packets += 1;
        let before = self.last.and_then(|last| last.decoding_time);
        if packet.is_key && packet.time_stamp.is_some() {
            self.leading = self.broken.take().map(|why| (packet.time_stamp, why));
        }
        if packet.is_key {
            self.last_key = packet.time_stamp;
            if self.first_key_packet.is_none() {
                (self.first_key_packet, self.first_key) = (Some(self.packets), packet.time_stamp);
            }
            self.keys.push_back(self.packets);
        }
        self.before = self.last.replace(packet);
        self.has_come = false;
        if self.first_key_packet.is_none() && self.came.is_empty() {
            return;
        }
        // Decoding times may be derived from the others some packets late: a hole that ends before the key frame was before it.
        let is_behind_hole = before
            .zip(packet.decoding_time)
            .is_some_and(|(a, b)| self.steps.missing(a, b) > 0 && self.last_key.is_none_or(|key| key < b));
        if !packet.is_key && is_behind_hole && self.beforehand.misses_packets {
            self.broken.get_or_insert_with(|| "data before it is missing in the file".to_owned());
        }
        let Some(time) = packet.time_stamp else {
            (self.is_by_order, self.pending) = (true, BTreeMap::new());
            if packet.is_corrupt {
                self.hit("the file says that its data is damaged");
            }
            return;
        };
        let damage = match &self.leading {
            _ if packet.is_key => None,
            Some((Some(key), why)) if time < *key => Some(why.clone()),
            _ => self.broken.clone(),
        };
        if !self.is_by_order {
            self.pending.insert(time, Pending { came: None, damage });
        }
        if packet.is_corrupt {
            self.hit("the file says that its data is damaged");
        }
        if self.beforehand.begins_damaged && self.came.is_empty() && self.first_key_packet == Some(1) {
            self.hit("the video begins with damaged data");
        }
    }

    /// The next frame.
    pub(super) fn frame(&mut self, frame: Shown) {
        if let Some(complaint) = &frame.complaint {
            self.hit(complaint);
        }
        self.has_come = true;
        self.release();
        let index = self.came.len();
        self.came.push(Came { slot: None, shown_at: frame.shown_at, is_key: frame.is_key });
        let key = if frame.is_key { self.keys.pop_front() } else { None };
        if self.is_by_order {
            self.came[index].slot = self.place_by_order(&frame, index, key);
            return;
        }
        let Some(time) = frame.time_stamp else { return };
        let Some(pending) = self.pending.get_mut(&time) else {
            // A video without key frames begins somewhere.
            if self.slots.is_empty() && self.first_key_packet.is_none() {
                self.came[index].slot = self.push(Some(time), Some(index), None);
            }
            return;
        };
        pending.came = Some(index);
        if pending.damage.is_none() {
            self.held = Some(time);
            if self.last.is_some_and(|last| last.time_stamp != Some(time)) {
                self.release();
            }
        }
    }

    /// The frame that is held is good, if nothing was said against it meanwhile.
    fn release(&mut self) {
        let Some(time) = self.held.take() else { return };
        if self.pending.get(&time).is_none_or(|pending| pending.damage.is_some()) {
            return;
        }
        self.settle_before(time);
        if let Some(index) = self.pending.remove(&time).and_then(|pending| pending.came) {
            self.came[index].slot = self.push(Some(time), Some(index), None);
        }
    }

    /// No more comes.
    pub(super) fn end(&mut self) {
        self.miss_call(None);
        self.release();
        self.settle_before(i64::MAX);
        if self.beforehand.is_cut {
            let damage = "the file ends in the middle, and what comes here is not in it".to_owned();
            self.slots.push(Slot { time_stamp: None, came: None, damage: Some(damage) });
        }
    }

    /// Of the packet that was read last no frame came, and none of those before it that wait for their turn: its data was refused. Decoders that
    /// begin wait for some packets, and packets that are never shown are close to others.
    fn miss_call(&mut self, next: Option<&Packet>) {
        let Some(packet) = self.last else { return };
        if self.has_come || self.came.is_empty() {
            return;
        }
        let next = next.and_then(|next| next.decoding_time);
        let is_beside = |other: Option<i64>| {
            packet.decoding_time.zip(other).is_some_and(|(a, b)| self.steps.are_one(a, b))
        };
        if !is_beside(self.before.and_then(|before| before.decoding_time)) && !is_beside(next) {
            self.hit(LOST);
            let before = self.before.and_then(|before| before.time_stamp);
            if let Some(pending) = before.and_then(|time| self.pending.get_mut(&time)) {
                let text =
                    || "the data behind it is damaged from its beginning, and its own may be".to_owned();
                pending.damage.get_or_insert_with(text);
            }
        }
    }

    /// The packet that was read last is damaged.
    fn hit(&mut self, why: &str) {
        let Some(packet) = self.last else { return };
        if let Some(pending) = packet.time_stamp.and_then(|time| self.pending.get_mut(&time)) {
            pending.damage = Some(why.to_owned());
        }
        self.broken = Some(format!("it is made of others that are damaged ({why})"));
        self.broken_packet = self.packets;
    }

    /// A slot without knowing of which packet the frame came: not before the key frame of a packet behind the damaged one it is good again.
    fn place_by_order(&mut self, frame: &Shown, index: usize, key: Option<usize>) -> Option<usize> {
        if key.is_some_and(|key| key > self.broken_packet) {
            self.broken = None;
        }
        let damage = self.broken.as_ref().filter(|_| self.broken_packet > 0).cloned();
        let came = damage.is_none().then_some(index);
        self.push(frame.shown_at, came, damage)
    }

    /// Slots of all packets that are shown before this time.
    fn settle_before(&mut self, time: i64) {
        while let Some(entry) = self.pending.first_entry().filter(|entry| *entry.key() < time) {
            let (at, pending) = entry.remove_entry();
            // What is shown before the first key frame was never to be had.
            if self.slots.is_empty() && self.first_key.is_some_and(|key| at < key) {
                continue;
            }
            let before = self.slots.last().and_then(|slot| slot.time_stamp);
            let is_one = |other: i64| self.steps.are_one(at, other);
            if pending.came.is_none() && (before.is_some_and(is_one) || (time < i64::MAX && is_one(time))) {
                continue;
            }
            let damage = pending.damage.unwrap_or_else(|| LOST.to_owned());
            self.push(Some(at), None, Some(damage));
        }
    }

    /// A slot, behind those whose packets are missing; its index, if it is good.
    fn push(
        &mut self,
        time_stamp: Option<i64>,
        came: Option<usize>,
        damage: Option<String>,
    ) -> Option<usize> {
        let before = self.slots.last().map(|slot| (slot.time_stamp, slot.damage.is_none()));
        if let (Some((Some(a), was_good)), Some(b)) = (before, time_stamp) {
            let missing = if self.beforehand.misses_packets { self.steps.missing(a, b) } else { 0 };
            for step in 1..=missing {
                let time_stamp = Some(self.steps.time(a, step));
                self.slots.push(Slot { time_stamp, came: None, damage: Some(MISSING.to_owned()) });
            }
            if was_good && damage.is_none() && missing == 0 {
                self.steps.add(b.saturating_sub(a));
            }
        }
        let index = self.slots.len();
        self.slots.push(Slot { time_stamp, came, damage });
        came.map(|_| index)
    }
}

#[cfg(test)]
mod tests;
