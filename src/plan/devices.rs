//! GPUs by name, so that plans are made and judged without them.
use super::profile::{DeviceProfile, Rates};
use std::{collections::HashSet, time::Duration};

/// What a launch costs that waits for the one before it: the cores run empty, what was written becomes
/// visible, and the next grid starts. Assumed of every GPU, not measured here: `scripts/measure-gpu` prints a
/// device's own, and predictions stand beside the totals for 2 and 25 us.
///
/// Example: [`DeviceProfile`].
pub const DEPENDENT_LAUNCH: Duration = Duration::from_micros(4);

/// Registers of a core, of 32 bits. NVIDIA's CUDA programming guide, table of compute capabilities: 64 Ki
/// on all since Maxwell. AMD's RDNA and RDNA 2 whitepapers: two SIMDs of 128 KiB; RDNA 3 instruction set
/// guide: 192 KiB each; CDNA 3 whitepaper: four of 128 KiB. Intel's oneAPI optimization guide: 16 engines of
/// 8 threads of 128 registers of 32 bytes, or 8 of 16 lanes (64 bytes). Apple states none: 208 KiB is what
/// Mesa's compiler for it shares out (agx_occupancy).
const NVIDIA_REGISTERS: u32 = 64 << 10;
const RDNA2_REGISTERS: u32 = 64 << 10;
const RDNA3_REGISTERS: u32 = 96 << 10;
const CDNA3_REGISTERS: u32 = 128 << 10;
const INTEL_REGISTERS: u32 = 128 << 10;
const APPLE_REGISTERS: u32 = 52 << 10;

/// Vendors' PCI ids beside [`DeviceProfile`]'s own.
const INTEL: u32 = 0x8086;
const APPLE: u32 = 0x106b;
const QUALCOMM: u32 = 0x5143;

/// Cores, multiply-adds a cycle of each, GFLOP/s in f32, GB/s.
const fn gpu(
    vendor: u32,
    subgroups: [u32; 2],
    core_registers: u32,
    workgroup_bytes: u32,
    [cores, lanes, gflops, gbytes]: [u64; 4],
) -> DeviceProfile {
    let (multiply_adds, bytes) = (gflops * 1_000_000_000 / 2, gbytes * 1_000_000_000);
    DeviceProfile {
        vendor,
        subgroups,
        cores: Some(cores as usize),
        lanes: lanes as u32,
        core_registers,
        workgroup_bytes,
        rates: Some(Rates { multiply_adds, bytes, launch: DEPENDENT_LAUNCH }),
        ..DeviceProfile::GPU
    }
}

const fn nvidia(figures: [u64; 4]) -> DeviceProfile {
    gpu(DeviceProfile::NVIDIA, [32; 2], NVIDIA_REGISTERS, 48 << 10, figures)
}

const fn amd(registers: u32, figures: [u64; 4]) -> DeviceProfile {
    gpu(DeviceProfile::AMD, [32, 64], registers, 64 << 10, figures)
}

const fn intel(subgroup: u32, figures: [u64; 4]) -> DeviceProfile {
    gpu(INTEL, [subgroup, 32], INTEL_REGISTERS, 64 << 10, figures)
}

const fn apple(figures: [u64; 4]) -> DeviceProfile {
    gpu(APPLE, [4, 64], APPLE_REGISTERS, 32 << 10, figures)
}

/// Of unknown rates.
const fn adreno(cores: usize) -> DeviceProfile {
    let (vendor, subgroups, workgroup_bytes) = (QUALCOMM, [64, 128], 32 << 10);
    DeviceProfile { vendor, subgroups, workgroup_bytes, cores: Some(cores), ..DeviceProfile::GPU }
}

/// GPUs by name. Cores, lanes of a core, f32 GFLOP/s without matrix units at the boost clock, and GB/s of
/// memory, as the vendor states them.
///
/// Example: [`crate::plan`].
pub const DEVICES: &[(&str, DeviceProfile)] = &[
    // NVIDIA's H100, H200, A100, L4, L40S and T4 datasheets; the Hopper, Ampere, Ada and Turing whitepapers.
    ("H200", nvidia([132, 128, 66_900, 4_800])),
    ("H100", nvidia([132, 128, 66_900, 3_350])),
    ("H100 PCIe", nvidia([114, 128, 51_200, 2_000])),
    ("A100", nvidia([108, 64, 19_500, 1_555])),
    ("A100 80GB", nvidia([108, 64, 19_500, 2_039])),
    ("L40S", nvidia([142, 128, 91_600, 864])),
    ("L4", nvidia([58, 128, 30_300, 300])),
    ("T4", nvidia([40, 64, 8_100, 300])),
    // NVIDIA's Blackwell (RTX 50), Ada (40), GA102 (30) and Turing (20) whitepapers.
    ("RTX 5090", nvidia([170, 128, 104_800, 1_792])),
    ("RTX 5080", nvidia([84, 128, 56_300, 960])),
    ("RTX 4090", nvidia([128, 128, 82_600, 1_008])),
    ("RTX 4080", nvidia([76, 128, 48_700, 717])),
    ("RTX 3090", nvidia([82, 128, 35_600, 936])),
    ("RTX 3080", nvidia([68, 128, 29_800, 760])),
    ("RTX 2080 Ti", nvidia([68, 64, 13_400, 616])),
    // AMD's pages of these cards, and the CDNA 3 whitepaper. RDNA 3 counts two multiply-adds a lane.
    (
        "MI300X",
        gpu(DeviceProfile::AMD, [64; 2], CDNA3_REGISTERS, 64 << 10, [304, 128, 163_400, 5_300]),
    ),
    ("RX 7900 XTX", amd(RDNA3_REGISTERS, [96, 128, 61_400, 960])),
    ("RX 6800 XT", amd(RDNA2_REGISTERS, [72, 64, 20_740, 512])),
    ("RX 6700 XT", amd(RDNA2_REGISTERS, [40, 64, 13_210, 384])),
    // Intel's pages of these cards: Xe-cores of 128 lanes at the graphics clock (2.1 and 2.67 GHz).
    ("Arc A770", intel(8, [32, 128, 17_200, 560])),
    ("Arc B580", intel(16, [20, 128, 13_670, 456])),
    // Apple's newsroom, with the most GPU cores of each. Of M3 and M4 Apple states cores and memory, no
    // rate: theirs here is that of an M2 core.
    ("M1", apple([8, 128, 2_600, 68])),
    ("M1 Pro", apple([16, 128, 5_200, 200])),
    ("M1 Max", apple([32, 128, 10_400, 400])),
    ("M1 Ultra", apple([64, 128, 21_000, 800])),
    ("M2", apple([10, 128, 3_600, 100])),
    ("M2 Pro", apple([19, 128, 6_800, 200])),
    ("M2 Max", apple([38, 128, 13_600, 400])),
    ("M2 Ultra", apple([76, 128, 27_200, 800])),
    ("M3", apple([10, 128, 3_600, 100])),
    ("M3 Pro", apple([18, 128, 6_400, 150])),
    ("M3 Max", apple([40, 128, 14_300, 400])),
    ("M4", apple([10, 128, 3_600, 120])),
    ("M4 Pro", apple([20, 128, 7_200, 273])),
    ("M4 Max", apple([40, 128, 14_300, 546])),
    // Qualcomm states neither; the cores are those of Mesa's freedreno_devices.py.
    ("Adreno 740", adreno(6)),
];

/// Words that make another card of one that has the rest of the name.
const VARIANTS: [&str; 11] =
    ["laptop", "mobile", "ti", "super", "pcie", "nvl", "xt", "gre", "pro", "max", "ultra"];

fn words(name: &str) -> HashSet<String> {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

impl DeviceProfile {
    /// The GPU of this name, a table's or an adapter's: the one of [`DEVICES`] whose words are all in it,
    /// the most of them if several are. None if the name says that it is a variant of that one.
    pub fn named(name: &str) -> Option<Self> {
        let said = words(name);
        let known = DEVICES.iter().map(|(name, profile)| (words(name), profile));
        let fits = known.filter(|(words, _)| words.is_subset(&said));
        let (words, profile) = fits.max_by_key(|(words, _)| words.len())?;
        let other = |word: &str| said.contains(word) && !words.contains(word);
        (!VARIANTS.iter().any(|word| other(word))).then_some(*profile)
    }

    /// A vendor's GPU of which no more is known. NVIDIA: 64 multiprocessors, each as one of an RTX
    /// 3080. AMD: an RX 6700 XT, 40 compute units. Intel: an Arc A770, 32 Xe-cores. Apple: an M1.
    pub fn of_vendor(vendor: u32) -> Self {
        match vendor {
            Self::NVIDIA => nvidia([64, 128, 28_000, 715]),
            Self::AMD => amd(RDNA2_REGISTERS, [40, 64, 13_210, 384]),
            INTEL => intel(8, [32, 128, 17_200, 560]),
            APPLE => apple([8, 128, 2_600, 68]),
            _ => Self { vendor, ..Self::GPU },
        }
    }
}
