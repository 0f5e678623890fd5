//! What the runtime asks of a network, on networks made here.

use samovar_geometry::Point;
use samovar_models::{Capabilities, Family, MaskChoice, MaskRule, ModelConfig, ScoredPrompts};

use super::*;
use crate::engine::Options;

const CANVAS: ResizeRule = ResizeRule::Exact { width: 24, height: 16 };

/// Gives its pixels as features.
struct Pixels(Preprocessing);

impl ImageEncoder for Pixels {
    fn preprocessing(&self) -> &Preprocessing {
        &self.0
    }

    fn encode(&self, _: &Device, pixels: &Tensor) -> samovar_models::Result<ImageFeatures> {
        self.0.check_pixels(pixels)?;
        Ok(ImageFeatures { embedding: pixels.clone(), high_res: Vec::new(), hq: None, is_conditioned: false })
    }
}

/// A single mask of the left third, of this certainty, and three of the right, the second of which is the best.
struct Thirds {
    certainty: f32,
    choice: MaskChoice,
}

impl PromptableSegmenter for Thirds {
    fn input_size(&self) -> Size<Input> {
        CANVAS.canvas()
    }

    fn grid_size(&self) -> Size<Grid> {
        Size::new(6, 4)
    }

    fn recommendations(&self) -> Recommendations {
        let mask_rule = MaskRule { one_click: self.choice, otherwise: self.choice };
        let nano = ModelConfig::from_catalogue("nano").unwrap().recommendations();
        Recommendations { mask_rule, cleanup: false, ..nano }
    }

    fn score(&self, _: &Device, _: &ImageFeatures, _: &PromptBatch) -> samovar_models::Result<ScoredPrompts> {
        Err(samovar_models::Error::Input("this one decodes at once".into()))
    }

    fn draw(&self, _: &Device, _: &ImageFeatures, _: ScoredPrompts) -> samovar_models::Result<Tensor> {
        Err(samovar_models::Error::Input("this one decodes at once".into()))
    }

    fn draw_chosen(
        &self,
        _: &Device,
        _: &ImageFeatures,
        _: &ScoredPrompts,
        _: &[(usize, usize)],
    ) -> samovar_models::Result<Tensor> {
        Err(samovar_models::Error::Input("this one decodes at once".into()))
    }

    fn decode(
        &self,
        device: &Device,
        _: &ImageFeatures,
        prompts: &PromptBatch,
    ) -> samovar_models::Result<MaskPrediction> {
        // A click at (30, 10) of 60 x 20 pixels lies in the middle of the canvas.
        if !device.is_shape_only() {
            assert_eq!(prompts.points, vec![Point::new(12.0, 8.0); prompts.prompts]);
            assert_eq!(prompts.output, MaskOutput::All);
        }
        let logits = device.upload_with([prompts.prompts, 4, 4, 6], |values| {
            for (i, value) in values.iter_mut().enumerate() {
                let (mask, column) = (i / 24 % 4, i % 6);
                *value = match mask {
                    0 if column < 2 => self.certainty,
                    1.. if column >= 4 => 3.0,
                    _ => -3.0,
                };
            }
        })?;
        let iou_scores = device.upload_with([prompts.prompts, 4], |values| {
            values.as_chunks_mut::<4>().0.iter_mut().for_each(|row| *row = [0.9, 0.1, 0.8, 0.3]);
        })?;
        Ok(MaskPrediction { logits, iou_scores, object_scores: None })
    }
}

fn engine() -> Engine {
    Engine::new(Options { threads: 1, ..Options::default() }).unwrap()
}

fn encoder() -> Arc<dyn ImageEncoder> {
    Arc::new(Pixels(Preprocessing { resize: CANVAS, mean: [0.0; 3], std: [1.0; 3] }))
}

fn answer(certainty: f32, choice: MaskChoice) -> PredictedMask {
    let capabilities = Capabilities {
        image_encoder: Some(encoder()),
        promptable_segmenter: Some(Arc::new(Thirds { certainty, choice })),
        ..Capabilities::default()
    };
    let network = Network::of(Family::Sam, capabilities);
    let planner = Planner::of(engine().device(), |_| Ok(network.clone())).unwrap();
    let model = Model::new(engine(), network, planner, "thirds".into(), Precision::F32).unwrap();
    let image = RgbImage::from_fn(Size::new(60, 20), |_, _| [9, 9, 9]);
    let answer = model.embed_pixels(&image).unwrap().segment(&Prompt::default().point(30.0, 10.0)).unwrap();
    assert_eq!(answer.masks().len(), 1);
    answer.best().clone()
}

/// SAM 2's choice, on a canvas that is no square.
#[test]
fn an_unstable_single_mask_is_not_the_answer() {
    let choice = MaskChoice::SingleIfStable { offset: 0.05, threshold: 0.98 };
    let stable = answer(3.0, choice);
    assert_eq!(stable.iou_score, 0.9);
    let mask = stable.mask().unwrap();
    assert!(mask.get(5, 10) && !mask.get(55, 10));
    let unstable = answer(0.01, choice);
    assert_eq!(unstable.iou_score, 0.8);
    let mask = unstable.mask().unwrap();
    assert!(!mask.get(5, 10) && mask.get(55, 10));
    assert_eq!(answer(0.01, MaskChoice::BestOfAll).iou_score, 0.9);
}

#[test]
fn a_model_that_answers_no_prompts_is_refused_with_those_that_do() {
    let capabilities = Capabilities { image_encoder: Some(encoder()), ..Capabilities::default() };
    let network = Network::of(Family::Sam, capabilities);
    let planner = Planner::of(engine().device(), |_| Ok(network.clone())).unwrap();
    let lacks = planner.decode(&PromptShape::CLICK, 1).err().unwrap().of_model("owner/embedder".into());
    assert_eq!(lacks.kind(), crate::ErrorKind::Usage);
    let refusal = Model::new(engine(), network, planner, "owner/embedder".into(), Precision::F32);
    let refusal = refusal.err().unwrap();
    assert_eq!(refusal.to_string(), lacks.to_string());
    assert_eq!(refusal.kind(), crate::ErrorKind::Usage);
    let refusal = refusal.to_string();
    for words in
        ["owner/embedder: ", "has no promptable segmenter", "nano, mobile_sam, facebook/sam-vit-base"]
    {
        assert!(refusal.contains(words), "{refusal}");
    }
}
