//! The table of all settings: what presets, variables and flags may say, and what holds if none of them says anything.

use samovar::MAX_THREADS;

use super::kind::{AUTO, Kind, NEVER, ON};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in presets.
    pub key: &'static str,
    /// What its values look like.
    pub kind: Kind,
    /// What it does.
    pub meaning: &'static str,
    /// The variable of the environment that sets it.
    pub variable: &'static str,
    /// The flag that sets it, in commands where it matters.
    pub flag: Option<&'static str>,
    /// What holds if nothing sets it.
    pub default: &'static str,
    /// What `auto` stands for.
    pub auto_means: &'static str,
}

/// All settings.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "device",
        kind: Kind::Device,
        meaning: "what computes: the processors, or a graphics card",
        variable: "SAMOVAR_DEVICE",
        flag: Some("device"),
        default: AUTO,
        auto_means: "the best card that has passed its certificate, else the processors",
    },
    Setting {
        key: "threads",
        kind: Kind::Count { most: MAX_THREADS as u64 },
        meaning: "threads to use",
        variable: "SAMOVAR_THREADS",
        flag: Some("threads"),
        default: AUTO,
        auto_means: "one per processor",
    },
    Setting {
        key: "memory",
        kind: Kind::BytesOrAuto,
        meaning: "memory that the model and its work may take; a preset never takes more than auto would",
        variable: "SAMOVAR_MEMORY",
        flag: Some("memory"),
        default: AUTO,
        auto_means: "nine tenths of what is free",
    },
    Setting {
        key: "memory_pressure",
        kind: Kind::Share,
        meaning: "share of the machine's memory in use from which on pools give back what lies idle",
        variable: "SAMOVAR_MEMORY_PRESSURE",
        flag: None,
        default: "0.80",
        auto_means: "",
    },
    Setting {
        key: "memory_warning",
        kind: Kind::Share,
        meaning: "share from which on caches shrink and half as many images are worked on at once",
        variable: "SAMOVAR_MEMORY_WARNING",
        flag: None,
        default: "0.85",
        auto_means: "",
    },
    Setting {
        key: "memory_critical",
        kind: Kind::Share,
        meaning: "share from which on caches and idle models go, and no new work begins",
        variable: "SAMOVAR_MEMORY_CRITICAL",
        flag: None,
        default: "0.95",
        auto_means: "",
    },
    Setting {
        key: "unload_after",
        kind: Kind::Seconds,
        meaning: "an encoder that lies idle for so long goes, and comes back from its file when an image needs it",
        variable: "SAMOVAR_UNLOAD_AFTER",
        flag: None,
        default: "300",
        auto_means: "",
    },
    Setting {
        key: "dtype",
        kind: Kind::Words(&[AUTO, "f32", "f16", "bf16", "int8"]),
        meaning: "precision of the large weights",
        variable: "SAMOVAR_DTYPE",
        flag: Some("dtype"),
        default: AUTO,
        auto_means: "f32, or the model file's own",
    },
    Setting {
        key: "simd",
        kind: Kind::Words(&[AUTO, "avx512", "avx2", "neon", "scalar"]),
        meaning: "instructions to use",
        variable: "SAMOVAR_SIMD",
        flag: None,
        default: AUTO,
        auto_means: "the best the processor has",
    },
    Setting {
        key: "products",
        kind: Kind::Words(&[AUTO, "plain", "paired", "strassen"]),
        meaning: "how large products are computed",
        variable: "SAMOVAR_PRODUCTS",
        flag: None,
        default: AUTO,
        auto_means: "what is fastest with the instructions",
    },
    Setting {
        key: "optimizations",
        kind: Kind::Switch,
        meaning: "off is the baseline to compare with: nothing cached, batched, read ahead or done side by side; masks are the same",
        variable: "SAMOVAR_OPTIMIZATIONS",
        flag: Some("no-optimizations"),
        default: ON,
        auto_means: "",
    },
    Setting {
        key: "max_pixels",
        kind: Kind::Pixels,
        meaning: "largest picture that is read, width times height",
        variable: "SAMOVAR_MAX_PIXELS",
        flag: Some("max-pixels"),
        default: "268435456",
        auto_means: "",
    },
    Setting {
        key: "cache",
        kind: Kind::Words(&[AUTO, "on", "off"]),
        meaning: "when what the model finds in an image is kept for the next prompt on it: in memory, and on disk what took 0.15 s or longer",
        variable: "SAMOVAR_CACHE_WHEN",
        flag: Some("cache"),
        default: AUTO,
        auto_means: "single images in memory and on disk, folders in memory, and nothing with nano",
    },
    Setting {
        key: "cache_memory",
        kind: Kind::Bytes,
        meaning: "most that is kept of images in memory, while a command runs",
        variable: "SAMOVAR_CACHE_MEMORY",
        flag: None,
        default: "256MiB",
        auto_means: "",
    },
    Setting {
        key: "cache_disk",
        kind: Kind::Bytes,
        meaning: "most that is kept of images on disk, from one command to the next",
        variable: "SAMOVAR_CACHE_SIZE",
        flag: None,
        // A thousand images of ViT-B.
        default: "4GB",
        auto_means: "",
    },
    Setting {
        key: "images_at_once",
        kind: Kind::Count { most: 1024 },
        meaning: "images of a folder that are worked on at once",
        variable: "SAMOVAR_IMAGES_AT_ONCE",
        flag: Some("images-at-once"),
        default: AUTO,
        auto_means: "one per thread with small models, and with large ones one that computes while others are read and written",
    },
    Setting {
        key: "timeout",
        kind: Kind::Seconds,
        meaning: "an image of a folder that takes longer is given up, and named",
        variable: "SAMOVAR_TIMEOUT",
        flag: Some("timeout"),
        default: NEVER,
        auto_means: "",
    },
    Setting {
        key: "points_per_batch",
        kind: Kind::Count { most: 1024 },
        meaning: "points that `everything` answers together: memory grows with it, masks do not change",
        variable: "SAMOVAR_POINTS_PER_BATCH",
        flag: Some("points-per-batch"),
        default: AUTO,
        auto_means: "8, which is as fast as more on processors",
    },
];

impl Setting {
    /// The setting of a name.
    pub fn find(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// Its values and what holds by default, for people: `8GB or 512MiB, or auto [default: auto: nine tenths ...]`.
    pub fn default_in_words(&self) -> String {
        if self.default == AUTO { format!("auto: {}", self.auto_means) } else { self.default.to_owned() }
    }
}
