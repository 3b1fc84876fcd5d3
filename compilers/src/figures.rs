//! What a compiler made of a kernel, as numbers that mean the same for all five as far as they can.
use crate::{chip::Compiler, driver::Pipeline};
use serde::Serialize;

/// What a compiler made of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Invocations of a subgroup.
    pub subgroup: u32,
    /// Registers of an invocation: of 32 bits, on Adreno vec4s of them, on Apple halves of them.
    pub registers: u64,
    /// Registers that are kept in memory; on Adreno stores to an invocation's own memory.
    pub spilled: u64,
    /// Bytes of an invocation's own memory; Adreno's compiler does not say.
    pub local: Option<u64>,
    /// Subgroups that fit side by side: of a multiprocessor (NVIDIA), a SIMD (AMD), a core (Adreno,
    /// Apple).
    pub resident: u64,
    /// All instructions.
    pub instructions: u64,
    /// Static cycles of a subgroup, where the compiler counts them, each turn of a loop as often as
    /// it assumes: to compare two texts of one kernel by. Apple's are of arithmetic alone.
    pub cycles: Option<u64>,
    /// The basic block with most multiply-adds, where the compiler shows its assembly.
    pub hottest: Option<Block>,
}

/// Instructions between two branches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Block {
    /// Multiply-adds.
    pub multiply_adds: u32,
    /// All instructions.
    pub instructions: u32,
}

impl Figures {
    /// Reads what the driver says.
    pub fn of(compiler: Compiler, pipeline: &Pipeline) -> Self {
        let get = |name: &str| pipeline.statistics.get(name).copied();
        let number = |name: &str| get(name).unwrap_or(0);
        let subgroup = pipeline.subgroup;
        let text = pipeline.assembly.as_deref().unwrap_or_default();
        let hottest = hottest(compiler, text);
        let (registers, spilled, local, resident, instructions, cycles) = match compiler {
            Compiler::Nak => (
                number("Number of GPRs"),
                number("Spills to memory"),
                get("SLM size"),
                number("Max warps/SM"),
                number("Instruction count"),
                get("Static cycle count"),
            ),
            Compiler::Aco => (
                number("VGPRs"),
                number("Spilled VGPRs"),
                get("Scratch size"),
                number("Subgroups per SIMD"),
                number("Instructions"),
                get("Latency"),
            ),
            Compiler::Ir3 => (
                number("Registers used"),
                number("STP Count"),
                None,
                number("Max Waves Per Core"),
                number("Instruction Count"),
                None,
            ),
            Compiler::Agx => (
                number("GPRs"),
                number("Spills"),
                get("Scratch"),
                number("Threads") / u64::from(subgroup.max(1)),
                number("Instructions"),
                get("ALU"),
            ),
        };
        Self { subgroup, registers, spilled, local, resident, instructions, cycles, hottest }
    }

    /// Whether registers are kept in memory, or arrays.
    pub fn uses_memory(&self) -> bool {
        self.spilled > 0 || self.local.is_some_and(|bytes| bytes > 0)
    }
}

/// The basic block with most multiply-adds.
fn hottest(compiler: Compiler, assembly: &str) -> Option<Block> {
    let (mut best, mut block) = (Block::default(), Block::default());
    for line in assembly.lines() {
        let Line { begins, ends, multiply_adds, instructions } = Line::read(compiler, line);
        if begins {
            block = Block::default();
        }
        block.multiply_adds += multiply_adds;
        block.instructions += instructions;
        best = best.max(block);
        if ends {
            block = Block::default();
        }
    }
    (best.instructions > 0).then_some(best)
}

/// What a line of assembly says.
#[derive(Default)]
struct Line {
    begins: bool,
    ends: bool,
    multiply_adds: u32,
    instructions: u32,
}

impl Line {
    fn read(compiler: Compiler, line: &str) -> Self {
        match compiler {
            Compiler::Nak => Self::nak(line),
            Compiler::Aco => Self::aco(line),
            Compiler::Ir3 => Self::ir3(line),
            Compiler::Agx => Self::default(),
        }
    }

    /// `r68 = ffma.ftz r76 r108 r68   // delay=1`; `block 4 L9 [3] -> {`
    fn nak(line: &str) -> Self {
        let code = line.split("//").next().unwrap_or_default().trim();
        if code.starts_with("block") || code.starts_with('}') || code.is_empty() {
            return Self { begins: !code.is_empty(), ..Self::default() };
        }
        let op = code.split_once("= ").map_or(code, |(_, op)| op);
        let multiply_adds = ["ffma", "hfma2"].iter().any(|name| op.starts_with(name)).into();
        Self { multiply_adds, instructions: 1, ..Self::default() }
    }

    /// `v_fmac_f32_e32 v18, v78, v107   ; 5624d74e`; two may stand on a line, `::` between; `BB9:`
    fn aco(line: &str) -> Self {
        let code = line.split(';').next().unwrap_or_default().trim();
        if code.starts_with("BB") || code.is_empty() {
            return Self { begins: !code.is_empty(), ..Self::default() };
        }
        let names = ["v_fma", "v_dual_fma", "v_pk_fma"];
        let ops = || code.split("::").map(str::trim);
        let multiply = |op: &&str| names.iter().any(|name| op.starts_with(name));
        Self {
            ends: code.starts_with("s_cbranch") || code.starts_with("s_branch"),
            multiply_adds: ops().filter(multiply).count() as u32,
            instructions: ops().count() as u32,
            begins: false,
        }
    }

    /// `(ss)(rpt1)mad.f32 r28.w, r0.z, r7.y, (last)r28.w`, repeated once; `l966:`
    fn ir3(line: &str) -> Self {
        let code = line.split(';').next().unwrap_or_default().trim();
        if code.ends_with(':') || code.is_empty() || code.starts_with("Native code") {
            return Self { begins: code.ends_with(':'), ..Self::default() };
        }
        let (mut op, mut times) = (code, 1);
        while let Some((flag, rest)) = op.strip_prefix('(').and_then(|op| op.split_once(')')) {
            if let Some(more) = flag.strip_prefix("rpt") {
                times += more.parse().unwrap_or(0);
            }
            op = rest.trim_start();
        }
        let multiply = op.starts_with("mad.f");
        let ends = ["br ", "jump ", "bany", "ball"].iter().any(|name| op.starts_with(name));
        let multiply_adds = if multiply { times } else { 0 };
        Self { begins: false, ends, multiply_adds, instructions: times }
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, Compiler, hottest};

    #[test]
    fn the_hottest_block_is_found_in_each_assembly() {
        let nak = "block 4 L9 [3] -> {\n r1 = mov r2 // delay=1\n}\nblock.u 5 L1 [4] -> {\n \
                   r68 = ffma.ftz r76 r108 r68 // delay=1\n st.shared r1 // x\n} -> []\n";
        let aco = "BB9:\n v_fmac_f32_e32 v18, v78, v107 ; 56\n s_waitcnt lgkmcnt(2) ; bf\n \
                   v_dual_fmac_f32 v1, v2, v3 :: v_dual_mul_f32 v4, v5, v6 ; c8\n s_branch BB4 ; 1\n \
                   v_fma_f32 v1, v2, v3, v4 ; d6\n";
        let ir3 = "; comment\nl966:\n(ss)(rpt1)mad.f32 r28.w, r0.z, r7.y, (last)r28.w\n(nop2) shl.b r1.x, 4\n\
                   br p0.x, #l1211\nmad.f32 r1.x, r2.x, r3.x, r4.x\n";
        for (compiler, text, multiply_adds, instructions) in
            [(Compiler::Nak, nak, 1, 2), (Compiler::Aco, aco, 2, 5), (Compiler::Ir3, ir3, 2, 4)]
        {
            let found = hottest(compiler, text);
            assert_eq!(found, Some(Block { multiply_adds, instructions }), "{compiler:?}");
        }
        assert_eq!(hottest(Compiler::Agx, ""), None);
    }
}
