//! Which pictures of a pack are looked at.

use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;

use samovar_media::segpack::{SegpackHeader, SegpackLimits, SegpackReader, SegpackRecord};

use super::draws::Draws;
use super::fnv::{FNV_OFFSET, fnv};
use super::options::EvaluateOptions;
use super::protocol::{named, needs};
use crate::error::Result;
use crate::model::Model;
use crate::picture_bytes::PictureBytes;

/// What is in a pack, from its headers, and what was drawn.
pub(super) struct Survey {
    /// Pictures there are.
    pub(super) all: usize,
    /// Of the names of all pictures.
    pub(super) fingerprint: u64,
    /// The picture that takes most of those drawn, and what it takes while it is measured.
    pub(super) largest: Option<(String, PictureBytes)>,
    /// Places in the pack of the pictures drawn, rising; `None` for all.
    drawn: Option<Vec<usize>>,
}

impl Survey {
    pub(super) fn of(model: &Model, pack: &Path, options: &EvaluateOptions) -> Result<Self> {
        let mut survey = Self { all: 0, fingerprint: FNV_OFFSET, largest: None, drawn: None };
        let mut draw = options.pictures_per_source.map(|most| Draw { most, sources: BTreeMap::new() });
        // By place; of those that may still be drawn, or of all the largest.
        let mut needed: BTreeMap<usize, (String, PictureBytes)> = BTreeMap::new();
        for record in SegpackReader::open(pack, SegpackLimits::default())? {
            let record = record.map_err(|error| error.at(pack))?;
            // What cannot be read is refused when it is its turn.
            let metadata = record.metadata(model.engine().decode_limits()).ok();
            let one = (named(&record.header), needs(model, &record, metadata.as_ref()));
            let header = record.header;
            let gone = match &mut draw {
                Some(draw) => draw.add(&header, survey.all, options.seed),
                None => smaller(&needed, &one.1, survey.all),
            };
            needed.insert(survey.all, one);
            gone.map(|gone| needed.remove(&gone));
            survey.all += 1;
            survey.fingerprint =
                fnv(survey.fingerprint, format!("{}/{}\n", header.src, header.id).as_bytes());
        }
        survey.drawn = draw.map(Draw::places);
        survey.largest = needed.into_values().max_by_key(|(_, needs)| needs.peak_bytes());
        Ok(survey)
    }

    /// Pictures that will be looked at.
    pub(super) fn chosen(&self) -> usize {
        self.drawn.as_ref().map_or(self.all, Vec::len)
    }
}

/// Of the largest picture so far and the one at `place` the place of the smaller.
fn smaller(
    needed: &BTreeMap<usize, (String, PictureBytes)>,
    one: &PictureBytes,
    place: usize,
) -> Option<usize> {
    let (&at, (_, largest)) = needed.first_key_value()?;
    Some(if largest.peak_bytes() < one.peak_bytes() { at } else { place })
}

/// The pictures of each source that drew the smallest numbers: a picture's number is its own, whatever else is there.
struct Draw {
    most: usize,
    /// Numbers drawn, and where the picture is; the largest first.
    sources: BTreeMap<String, BinaryHeap<(u64, usize)>>,
}

impl Draw {
    /// Says which place is not drawn any more.
    fn add(&mut self, header: &SegpackHeader, place: usize, seed: u64) -> Option<usize> {
        let name = fnv(FNV_OFFSET, format!("{}/{}", header.src, header.id).as_bytes());
        let of_source = self.sources.entry(header.src.clone()).or_default();
        of_source.push((Draws::new(name ^ seed).next(), place));
        if of_source.len() > self.most { of_source.pop().map(|(_, place)| place) } else { None }
    }

    fn places(self) -> Vec<usize> {
        let mut places: Vec<usize> = self.sources.into_values().flatten().map(|(_, place)| place).collect();
        places.sort_unstable();
        places
    }
}

/// The sample, picture by picture.
pub(super) struct Records<'a> {
    reader: Box<dyn Iterator<Item = (usize, samovar_media::Result<SegpackRecord>)> + Send>,
    drawn: Option<&'a [usize]>,
    given: usize,
}

impl<'a> Records<'a> {
    pub(super) fn open(pack: &Path, survey: &'a Survey) -> Result<Self> {
        let reader = Box::new(SegpackReader::open(pack, SegpackLimits::default())?.enumerate());
        Ok(Self { reader, drawn: survey.drawn.as_deref(), given: 0 })
    }

    /// Pictures handed out.
    pub(super) fn given(&self) -> usize {
        self.given
    }

    /// The next one: its number in the sample, its place in the pack, and itself.
    pub(super) fn next(&mut self) -> Result<Option<(usize, usize, SegpackRecord)>> {
        // What follows the last one drawn need not be read again.
        if self.drawn.is_some_and(|drawn| self.given == drawn.len()) {
            return Ok(None);
        }
        for (place, record) in self.reader.by_ref() {
            let record = record?;
            if self.drawn.is_none_or(|drawn| drawn.get(self.given) == Some(&place)) {
                self.given += 1;
                return Ok(Some((self.given - 1, place, record)));
            }
        }
        Ok(None)
    }
}
