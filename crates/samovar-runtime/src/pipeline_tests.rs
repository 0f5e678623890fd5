//! From a frame to masks, with a detector made here.

use std::sync::{Arc, Mutex};

use samovar_resources::instruments::EventSink;
use serde_json::Value;

use super::*;
use crate::engine::Options;

/// Finds what it was told of.
struct Told(Vec<Detection>, Vec<String>);

impl Detector for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn classes(&self) -> &[String] {
        &self.1
    }

    fn detect(&self, _: &RgbImage) -> Result<Vec<Detection>> {
        Ok(self.0.clone())
    }
}

fn detection(label: &str, [x0, y0, x1, y1]: [f64; 4]) -> Detection {
    Detection { box_in_image: Box2::new(x0, y0, x1, y1), class: 0, label: label.into(), score: 0.75 }
}

fn told(detections: Vec<Detection>) -> Told {
    Told(detections, vec!["disc".into(), "ground".into()])
}

#[derive(Default)]
struct Heard(Mutex<Vec<(String, Fields)>>);

/// What an event says, by name.
type Fields = Vec<(String, Value)>;

impl EventSink for Heard {
    fn event(&self, _: f64, name: &str, fields: &[(&str, Value)]) {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.0.lock().unwrap().push((name.to_owned(), fields));
    }
}

impl Heard {
    fn of(&self, name: &str, field: &str) -> Vec<Value> {
        let heard = self.0.lock().unwrap();
        let fields = heard.iter().filter(|(event, _)| event == name).flat_map(|(_, fields)| fields);
        fields.filter(|(other, _)| other == field).map(|(_, value)| value.clone()).collect()
    }
}

fn model() -> (Model, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let events = Events::to(Arc::clone(&heard) as _);
    let engine = Engine::new(Options { threads: 2, events, ..Options::default() }).unwrap();
    (engine.load("nano").unwrap(), heard)
}

fn frame() -> RgbImage {
    let disc = |x: u32, y: u32| (f64::from(x) - 90.0).hypot(f64::from(y) - 70.0) < 30.0;
    RgbImage::from_fn(Size::new(200, 120), |x, y| if disc(x, y) { [210, 40, 30] } else { [30, 60, 160] })
}

#[test]
fn boxes_become_masks_that_stay_where_they_were_made() {
    let (model, heard) = model();
    let found = vec![
        detection("disc", [58.0, 38.0, 122.0, 102.0]),
        detection("ground", [-40.0, -10.0, 300.0, 130.0]),
        detection("disc", [250.0, 10.0, 300.0, 40.0]),
    ];
    let pipeline = Pipeline::new(told(found), model.clone(), PipelineOptions::default()).unwrap();
    let mut packet = pipeline.run(&frame()).unwrap();
    let labels: Vec<&str> = packet.detections().iter().map(|one| &*one.label).collect();
    assert_eq!(labels, ["disc", "ground"], "a box with nothing of the frame is none");
    assert_eq!(packet.masks().len(), 2);
    assert!(packet.masks().iter().all(|mask| !mask.is_on_host()));
    assert_eq!(heard.of("sam_mask_output", "as_host"), [0, 0]);
    assert_eq!(heard.of("pipeline_frame", "objects"), [2]);
    assert!(heard.of("pipeline_frame", "detect_s")[0].as_f64().is_some());
    packet.to_host().unwrap();
    assert_eq!(heard.of("sam_mask_output", "as_host"), [0, 0, 1, 1]);
    packet.to_host().unwrap();
    assert_eq!(heard.of("sam_mask_output", "as_host").len(), 4, "once");
    // The same as the prompt gives.
    let expected =
        model.embed_pixels(&frame()).unwrap().segment(&Prompt::default().within(58.0, 38.0, 122.0, 102.0));
    let expected = expected.unwrap().best().mask().unwrap();
    let (_, mask) = packet.into_parts().next().unwrap();
    let mask = mask.into_host().unwrap();
    assert_eq!(mask, expected);
    assert!(mask.get(90, 70) && !mask.get(5, 5));
}

#[test]
fn one_switch_brings_everything_to_the_host() {
    let (model, heard) = model();
    let found = vec![detection("disc", [58.0, 38.0, 122.0, 102.0])];
    let options = PipelineOptions { as_host: true, ..PipelineOptions::default() };
    let packet = Pipeline::new(told(found), model, options).unwrap().run(&frame()).unwrap();
    let [SegmentedMask::Host(mask)] = packet.masks() else { panic!("not on the host") };
    assert_eq!(mask.size(), Size::new(200, 120));
    assert_eq!(heard.of("sam_mask_output", "as_host"), [1]);
    assert_eq!(heard.of("pipeline_frame", "as_host"), [1]);
}

#[test]
fn an_empty_frame_is_not_even_encoded() {
    let (model, heard) = model();
    let wanted = PipelineOptions { labels: vec!["disc".into()], ..PipelineOptions::default() };
    let found = vec![detection("ground", [0.0, 0.0, 200.0, 120.0])];
    let pipeline = Pipeline::new(told(found), model.clone(), wanted).unwrap();
    let never = |_: &Model| -> Result<Embedding> { panic!("nothing is wanted of it") };
    let packet = pipeline.run_with(&frame(), never).unwrap();
    assert!(packet.masks().is_empty() && packet.detections().is_empty());
    assert_eq!(packet.timing().encode, Duration::ZERO);
    assert_eq!(heard.of("pipeline_frame", "objects"), [0]);
    let unknown = PipelineOptions { labels: vec!["moon".into()], ..PipelineOptions::default() };
    let refused = Pipeline::new(told(Vec::new()), model, unknown).err().unwrap().to_string();
    assert!(refused.contains("told knows no `moon`; its classes are disc, ground"), "{refused}");
}

#[test]
fn run_segmentation_takes_a_box_or_the_whole_frame() {
    let (model, heard) = model();
    let around = Box2::new(58.0, 38.0, 122.0, 102.0);
    let resident = run_segmentation(&model, &frame(), Some(around), false).unwrap();
    assert!(!resident.is_on_host());
    assert_eq!(heard.of("sam_mask_output", "as_host"), [0]);
    let host = run_segmentation(&model, &frame(), Some(around), true).unwrap();
    assert!(host.is_on_host());
    assert_eq!(host.into_host().unwrap(), resident.into_host().unwrap());
    let whole = run_segmentation(&model, &frame(), None, true).unwrap().into_host().unwrap();
    let expected =
        model.embed_pixels(&frame()).unwrap().segment(&Prompt::default().within(0.0, 0.0, 200.0, 120.0));
    assert_eq!(whole, expected.unwrap().best().mask().unwrap());
    assert!(run_segmentation(&model, &frame(), Some(Box2::new(300.0, 0.0, 400.0, 50.0)), true).is_err());
}
