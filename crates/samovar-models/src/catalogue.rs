//! One table of models; help, documentation and APIs read it.

use crate::config::{Dimensions, Family, ModelConfig};
use crate::families::coco;
use crate::families::d_fine::{self, DFineConfig};
use crate::families::edgetam;
use crate::families::mobile_sam::MobileSamConfig;
use crate::families::nano_json::NanoConfig;
use crate::families::sam1::SamConfig;
use crate::families::sam2::{self, Published, Sam2Config};
use crate::families::sam2_memory::MemoryConfig;
use crate::interface::Capability;

/// A model samovar knows by name.
#[derive(Debug, Clone, Copy)]
pub struct CatalogueEntry {
    /// Name on the command line: a Hugging Face repository where there is one.
    pub id: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// Family.
    pub family: Family,
    /// One line for people.
    pub title: &'static str,
    /// Licence of the weights, as an SPDX expression.
    pub licence: &'static str,
    /// Where the weights are published.
    pub source: &'static str,
    /// Files of the Hugging Face repository that are needed; empty when there is none.
    pub files: &'static [&'static str],
    /// File names under which the original authors publish the weights.
    pub original_files: &'static [&'static str],
    /// Parameters in use.
    pub parameters: u64,
    /// Approximate size of the download; 0 for a model that comes with the program.
    pub download_bytes: u64,
    /// Its dimensions.
    config: fn() -> Dimensions,
}

/// Entries are the same when their ids are.
impl PartialEq for CatalogueEntry {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for CatalogueEntry {}

fn sam2_0(size: &Published) -> Dimensions {
    Dimensions::Sam2(Sam2Config::published(size, MemoryConfig::published(false)).into())
}

fn sam2_1(size: &Published) -> Dimensions {
    Dimensions::Sam2(Sam2Config::published(size, MemoryConfig::published(true)).into())
}

fn d_fine(size: &d_fine::Published) -> Dimensions {
    Dimensions::DFine(DFineConfig::published(size, coco::class_names(80).into()).into())
}

const HUGGING_FACE_FILES: &[&str] = &["config.json", "model.safetensors"];

/// All models samovar knows by name.
pub const CATALOGUE: &[CatalogueEntry] = &[
    CatalogueEntry {
        id: "nano",
        aliases: &["samovar-nano"],
        family: Family::Nano,
        title: "samovar's own small model, embedded in the program; 384 x 384 input",
        licence: "Apache-2.0",
        source: "embedded",
        files: &[],
        original_files: &[],
        parameters: 3_110_000,
        download_bytes: 0,
        config: || Dimensions::Nano(NanoConfig::default()),
    },
    CatalogueEntry {
        id: "mobile_sam",
        aliases: &["mobile-sam", "vit_t"],
        family: Family::MobileSam,
        title: "MobileSAM: TinyViT-5M encoder, SAM's decoder",
        licence: "Apache-2.0",
        source: "https://github.com/ChaoningZhang/MobileSAM",
        files: &[],
        original_files: &["mobile_sam.pt"],
        parameters: 9_790_000,
        download_bytes: 40_700_000,
        config: || Dimensions::MobileSam(MobileSamConfig::published()),
    },
    CatalogueEntry {
        id: "facebook/sam-vit-base",
        aliases: &["sam-vit-base", "vit_b"],
        family: Family::Sam,
        title: "Segment Anything, ViT-B",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam-vit-base",
        files: HUGGING_FACE_FILES,
        original_files: &["sam_vit_b_01ec64.pth"],
        parameters: 93_740_000,
        download_bytes: 375_000_000,
        config: || Dimensions::Sam(SamConfig::vit_b()),
    },
    CatalogueEntry {
        id: "facebook/sam-vit-large",
        aliases: &["sam-vit-large", "vit_l"],
        family: Family::Sam,
        title: "Segment Anything, ViT-L",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam-vit-large",
        files: HUGGING_FACE_FILES,
        original_files: &["sam_vit_l_0b3195.pth"],
        parameters: 312_340_000,
        download_bytes: 1_250_000_000,
        config: || Dimensions::Sam(SamConfig::vit_l()),
    },
    CatalogueEntry {
        id: "facebook/sam-vit-huge",
        aliases: &["sam-vit-huge", "vit_h"],
        family: Family::Sam,
        title: "Segment Anything, ViT-H",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam-vit-huge",
        files: HUGGING_FACE_FILES,
        original_files: &["sam_vit_h_4b8939.pth"],
        parameters: 641_090_000,
        download_bytes: 2_560_000_000,
        config: || Dimensions::Sam(SamConfig::vit_h()),
    },
    CatalogueEntry {
        id: "syscv-community/sam-hq-vit-base",
        aliases: &["sam-hq-vit-base", "hq_vit_b"],
        family: Family::SamHq,
        title: "SAM-HQ, ViT-B: finer masks",
        licence: "Apache-2.0",
        source: "https://huggingface.co/syscv-community/sam-hq-vit-base",
        files: HUGGING_FACE_FILES,
        original_files: &["sam_hq_vit_b.pth"],
        parameters: 94_810_000,
        download_bytes: 379_000_000,
        config: || Dimensions::Sam(SamConfig::vit_b().hq()),
    },
    CatalogueEntry {
        id: "syscv-community/sam-hq-vit-large",
        aliases: &["sam-hq-vit-large", "hq_vit_l"],
        family: Family::SamHq,
        title: "SAM-HQ, ViT-L",
        licence: "Apache-2.0",
        source: "https://huggingface.co/syscv-community/sam-hq-vit-large",
        files: HUGGING_FACE_FILES,
        original_files: &["sam_hq_vit_l.pth"],
        parameters: 313_670_000,
        download_bytes: 1_250_000_000,
        config: || Dimensions::Sam(SamConfig::vit_l().hq()),
    },
    CatalogueEntry {
        id: "syscv-community/sam-hq-vit-huge",
        aliases: &["sam-hq-vit-huge", "hq_vit_h"],
        family: Family::SamHq,
        title: "SAM-HQ, ViT-H",
        licence: "Apache-2.0",
        source: "https://huggingface.co/syscv-community/sam-hq-vit-huge",
        files: HUGGING_FACE_FILES,
        original_files: &["sam_hq_vit_h.pth"],
        parameters: 642_680_000,
        download_bytes: 2_570_000_000,
        config: || Dimensions::Sam(SamConfig::vit_h().hq()),
    },
    CatalogueEntry {
        id: "sam_hq_vit_tiny",
        aliases: &["light-hq-sam", "hq_vit_tiny"],
        family: Family::SamHq,
        title: "Light HQ-SAM: TinyViT-5M encoder, SAM-HQ's decoder",
        licence: "Apache-2.0",
        source: "https://github.com/SysCV/sam-hq",
        files: &[],
        original_files: &["sam_hq_vit_tiny.pth"],
        parameters: 10_230_000,
        download_bytes: 42_500_000,
        config: || Dimensions::MobileSam(MobileSamConfig::published().hq()),
    },
    CatalogueEntry {
        id: "facebook/sam2-hiera-tiny",
        aliases: &["sam2-hiera-tiny", "sam2_t"],
        family: Family::Sam2,
        title: "SAM 2, Hiera-T",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam2-hiera-tiny",
        files: HUGGING_FACE_FILES,
        original_files: &["sam2_hiera_tiny.pt"],
        parameters: 31_440_000,
        download_bytes: 156_000_000,
        config: || sam2_0(&sam2::TINY),
    },
    CatalogueEntry {
        id: "facebook/sam2-hiera-small",
        aliases: &["sam2-hiera-small", "sam2_s"],
        family: Family::Sam2,
        title: "SAM 2, Hiera-S",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam2-hiera-small",
        files: HUGGING_FACE_FILES,
        original_files: &["sam2_hiera_small.pt"],
        parameters: 38_540_000,
        download_bytes: 184_000_000,
        config: || sam2_0(&sam2::SMALL),
    },
    CatalogueEntry {
        id: "facebook/sam2-hiera-base-plus",
        aliases: &["sam2-hiera-base-plus", "sam2_b+"],
        family: Family::Sam2,
        title: "SAM 2, Hiera-B+",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam2-hiera-base-plus",
        files: HUGGING_FACE_FILES,
        original_files: &["sam2_hiera_base_plus.pt"],
        parameters: 73_330_000,
        download_bytes: 323_000_000,
        config: || sam2_0(&sam2::BASE_PLUS),
    },
    CatalogueEntry {
        id: "facebook/sam2-hiera-large",
        aliases: &["sam2-hiera-large", "sam2_l"],
        family: Family::Sam2,
        title: "SAM 2, Hiera-L",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam2-hiera-large",
        files: HUGGING_FACE_FILES,
        original_files: &["sam2_hiera_large.pt"],
        parameters: 216_930_000,
        download_bytes: 898_000_000,
        config: || sam2_0(&sam2::LARGE),
    },
    CatalogueEntry {
        id: "facebook/sam2.1-hiera-tiny",
        aliases: &["sam2.1-hiera-tiny", "sam2.1_t"],
        family: Family::Sam2,
        title: "SAM 2.1, Hiera-T",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam2.1-hiera-tiny",
        files: HUGGING_FACE_FILES,
        original_files: &["sam2.1_hiera_tiny.pt"],
        parameters: 31_440_000,
        download_bytes: 156_000_000,
        config: || sam2_1(&sam2::TINY),
    },
    CatalogueEntry {
        id: "facebook/sam2.1-hiera-small",
        aliases: &["sam2.1-hiera-small", "sam2.1_s"],
        family: Family::Sam2,
        title: "SAM 2.1, Hiera-S",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam2.1-hiera-small",
        files: HUGGING_FACE_FILES,
        original_files: &["sam2.1_hiera_small.pt"],
        parameters: 38_540_000,
        download_bytes: 184_000_000,
        config: || sam2_1(&sam2::SMALL),
    },
    CatalogueEntry {
        id: "facebook/sam2.1-hiera-base-plus",
        aliases: &["sam2.1-hiera-base-plus", "sam2.1_b+"],
        family: Family::Sam2,
        title: "SAM 2.1, Hiera-B+",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam2.1-hiera-base-plus",
        files: HUGGING_FACE_FILES,
        original_files: &["sam2.1_hiera_base_plus.pt"],
        parameters: 73_330_000,
        download_bytes: 323_000_000,
        config: || sam2_1(&sam2::BASE_PLUS),
    },
    CatalogueEntry {
        id: "facebook/sam2.1-hiera-large",
        aliases: &["sam2.1-hiera-large", "sam2.1_l"],
        family: Family::Sam2,
        title: "SAM 2.1, Hiera-L",
        licence: "Apache-2.0",
        source: "https://huggingface.co/facebook/sam2.1-hiera-large",
        files: HUGGING_FACE_FILES,
        original_files: &["sam2.1_hiera_large.pt"],
        parameters: 216_930_000,
        download_bytes: 898_000_000,
        config: || sam2_1(&sam2::LARGE),
    },
    CatalogueEntry {
        id: "yonigozlan/EdgeTAM-hf",
        aliases: &["edgetam"],
        family: Family::EdgeTam,
        title: "EdgeTAM: RepViT-M1 encoder, SAM 2's decoder, small memories",
        licence: "Apache-2.0",
        source: "https://huggingface.co/yonigozlan/EdgeTAM-hf",
        files: HUGGING_FACE_FILES,
        original_files: &["edgetam.pt"],
        parameters: 9_170_000,
        download_bytes: 55_800_000,
        config: || Dimensions::Sam2(edgetam::published().into()),
    },
    CatalogueEntry {
        id: "ustc-community/dfine-nano-coco",
        aliases: &["dfine-nano-coco", "dfine_n"],
        family: Family::DFine,
        title: "D-FINE-N: boxes of the 80 classes of COCO",
        licence: "Apache-2.0",
        source: "https://huggingface.co/ustc-community/dfine-nano-coco",
        files: HUGGING_FACE_FILES,
        original_files: &["dfine_n_coco.pth"],
        parameters: 3_789_000,
        download_bytes: 15_300_000,
        config: || d_fine(&d_fine::NANO),
    },
    CatalogueEntry {
        id: "ustc-community/dfine-small-coco",
        aliases: &["dfine-small-coco", "dfine_s"],
        family: Family::DFine,
        title: "D-FINE-S: boxes of the 80 classes of COCO",
        licence: "Apache-2.0",
        source: "https://huggingface.co/ustc-community/dfine-small-coco",
        files: HUGGING_FACE_FILES,
        original_files: &["dfine_s_coco.pth"],
        parameters: 10_330_000,
        download_bytes: 41_600_000,
        config: || d_fine(&d_fine::SMALL),
    },
    CatalogueEntry {
        id: "ustc-community/dfine-medium-coco",
        aliases: &["dfine-medium-coco", "dfine_m"],
        family: Family::DFine,
        title: "D-FINE-M: boxes of the 80 classes of COCO",
        licence: "Apache-2.0",
        source: "https://huggingface.co/ustc-community/dfine-medium-coco",
        files: HUGGING_FACE_FILES,
        original_files: &["dfine_m_coco.pth"],
        parameters: 19_620_000,
        download_bytes: 78_800_000,
        config: || d_fine(&d_fine::MEDIUM),
    },
    CatalogueEntry {
        id: "ustc-community/dfine-large-coco",
        aliases: &["dfine-large-coco", "dfine_l"],
        family: Family::DFine,
        title: "D-FINE-L: boxes of the 80 classes of COCO",
        licence: "Apache-2.0",
        source: "https://huggingface.co/ustc-community/dfine-large-coco",
        files: HUGGING_FACE_FILES,
        original_files: &["dfine_l_coco.pth"],
        parameters: 31_340_000,
        download_bytes: 125_700_000,
        config: || d_fine(&d_fine::LARGE),
    },
    CatalogueEntry {
        id: "ustc-community/dfine-xlarge-coco",
        aliases: &["dfine-xlarge-coco", "dfine_x"],
        family: Family::DFine,
        title: "D-FINE-X: boxes of the 80 classes of COCO",
        licence: "Apache-2.0",
        source: "https://huggingface.co/ustc-community/dfine-xlarge-coco",
        files: HUGGING_FACE_FILES,
        original_files: &["dfine_x_coco.pth"],
        parameters: 62_830_000,
        download_bytes: 251_600_000,
        config: || d_fine(&d_fine::EXTRA_LARGE),
    },
];

impl CatalogueEntry {
    /// The entry of a name: an id, an alias, or an original file name with or without its ending.
    pub fn find(name: &str) -> Option<&'static CatalogueEntry> {
        let is_file =
            |file: &&str| *file == name || file.rsplit_once('.').is_some_and(|(stem, _)| stem == name);
        CATALOGUE.iter().find(|entry| {
            entry.id == name || entry.aliases.contains(&name) || entry.original_files.iter().any(is_file)
        })
    }

    /// The model's dimensions.
    pub fn config(&self) -> ModelConfig {
        (self.config)().into()
    }

    /// The models that can do something.
    pub fn with(capability: Capability) -> impl Iterator<Item = &'static CatalogueEntry> {
        CATALOGUE.iter().filter(move |entry| entry.config().capabilities().contains(&capability))
    }
}

impl ModelConfig {
    /// The configuration of a model of the catalogue, by any of its names.
    pub fn from_catalogue(name: &str) -> Option<Self> {
        CatalogueEntry::find(name).map(CatalogueEntry::config)
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
