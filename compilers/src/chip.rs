//! The GPUs whose compilers run here.

/// Whose compiler it is, which decides what its counts are called and how its assembly reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// NVK's.
    Nak,
    /// RADV's.
    Aco,
    /// Turnip's.
    Ir3,
    /// Honeykrisp's.
    Agx,
}

/// A GPU.
#[derive(Clone, Copy, Debug)]
pub struct Chip {
    /// What `compilers/as` calls it.
    pub name: &'static str,
    /// A card that has it, for readers.
    pub card: &'static str,
    /// What a workgroup runs on, and how many there are.
    pub cores: usize,
    /// Whose compiler it is.
    pub compiler: Compiler,
}

impl Chip {
    /// All of them. Cores: NVIDIA's Ada whitepaper (AD102 of the RTX 4090, multiprocessors), AMD's
    /// pages of the RX 6800 XT and the RX 7900 XTX (compute units), Mesa's freedreno_devices.py
    /// (FD740, shader processors), Apple's page of the M1 (GPU cores).
    pub const ALL: [Self; 5] = [
        Self { name: "nvidia-ada", card: "RTX 4090", cores: 128, compiler: Compiler::Nak },
        Self { name: "amd-rdna2", card: "RX 6800 XT", cores: 72, compiler: Compiler::Aco },
        Self { name: "amd-rdna3", card: "RX 7900 XTX", cores: 96, compiler: Compiler::Aco },
        Self { name: "adreno-740", card: "Adreno 740", cores: 6, compiler: Compiler::Ir3 },
        Self { name: "apple-m1", card: "M1", cores: 8, compiler: Compiler::Agx },
    ];

    /// The chip of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chip| chip.name == name)
    }
}
