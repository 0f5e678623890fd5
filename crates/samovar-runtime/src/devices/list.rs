//! What the drivers of this machine list.

use samovar_wgpu::{AdapterKind, AdapterReport, adapters};

use super::choice::{Api, DeviceChoice};

/// What kind of device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// A card with memory of its own.
    Discrete,
    /// Part of a processor, in the host's memory.
    Integrated,
    /// A card lent to a virtual machine.
    Virtual,
    /// The driver does not say.
    Unknown,
    /// The processors themselves, by way of a driver for tests.
    Software,
}

impl DeviceKind {
    /// In a word or two.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discrete => "card",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual card",
            Self::Unknown => "of unknown kind",
            Self::Software => "software driver",
        }
    }
}

/// A device and what it can do.
#[derive(Debug, Clone)]
pub struct DeviceReport {
    /// What to choose it with.
    pub choice: DeviceChoice,
    /// As the driver calls it.
    pub name: String,
    /// Name and version of the driver.
    pub driver: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Bytes of its largest memory, where the driver tells.
    pub memory_bytes: Option<u64>,
    /// Arithmetic on 16-bit floats.
    pub has_f16: bool,
    /// Threads that run in step, at least and at most.
    pub subgroups: Option<[u32; 2]>,
    /// Sides of the matrices that its matrix units multiply: rows, columns, depth.
    pub matrix_units: Vec<[u32; 3]>,
    /// Whether it tells how long its work took.
    pub has_timestamps: bool,
    /// Why it cannot be used, if it cannot.
    pub unusable: Option<String>,
    /// Its number in the list of all adapters.
    pub(super) adapter: usize,
}

/// All devices beside the processors.
#[derive(Debug, Clone, Default)]
pub struct DeviceList {
    /// Those that there are.
    pub devices: Vec<DeviceReport>,
    /// Why there are none, if so.
    pub absent: Option<String>,
}

/// Asks the drivers what there is. It takes as long as they take to start, a tenth of a second or so.
pub fn list() -> DeviceList {
    let found = match adapters() {
        Ok(found) => found,
        Err(absent) => return DeviceList { devices: Vec::new(), absent: Some(absent.to_string()) },
    };
    let mut devices: Vec<DeviceReport> = Vec::new();
    for adapter in found {
        let Some(api) = Api::ALL.into_iter().find(|api| api.name() == adapter.backend) else { continue };
        let is_of =
            |one: &&DeviceReport| matches!(one.choice, DeviceChoice::Card { api: its, .. } if its == api);
        let index = devices.iter().filter(is_of).count();
        devices.push(report(adapter, DeviceChoice::Card { api, index }));
    }
    DeviceList { devices, absent: None }
}

fn report(adapter: AdapterReport, choice: DeviceChoice) -> DeviceReport {
    DeviceReport {
        choice,
        name: adapter.name,
        driver: adapter.driver,
        kind: match adapter.kind {
            AdapterKind::Discrete => DeviceKind::Discrete,
            AdapterKind::Integrated => DeviceKind::Integrated,
            AdapterKind::Virtual => DeviceKind::Virtual,
            AdapterKind::Software => DeviceKind::Software,
            AdapterKind::Unknown => DeviceKind::Unknown,
        },
        memory_bytes: adapter.memory_bytes,
        has_f16: adapter.has_f16,
        subgroups: adapter.subgroups,
        matrix_units: adapter.cooperative_matrices,
        has_timestamps: adapter.has_timestamps,
        unusable: adapter.unusable,
        adapter: adapter.index,
    }
}

/// Whether the system has a card at all, told without its drivers: starting those takes time and memory that runs on processors
/// should not pay for.
pub fn has_card() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let has_render_node = std::fs::read_dir("/dev/dri").is_ok_and(|nodes| {
        nodes.flatten().any(|node| node.file_name().as_encoded_bytes().starts_with(b"renderD"))
    });
    // NVIDIA's own driver, and cards inside of Windows' Linux.
    has_render_node || ["/dev/nvidiactl", "/dev/dxg"].iter().any(|path| std::path::Path::new(path).exists())
}
