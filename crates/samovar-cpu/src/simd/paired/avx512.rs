//! The tile in assembly: compilers put a number that two vectors need into a register of its own first, and that takes a
//! turn of the units which should add. As operands in memory the numbers cost nothing.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{PERIOD, ROWS, VECTORS};

/// A unit of instructions for every row: its number and the registers of its sums.
macro_rules! rows {
    ($unit:ident, $at:expr) => {
        concat!(
            $unit!("0", "0", "12", $at),
            $unit!("1", "1", "13", $at),
            $unit!("2", "2", "14", $at),
            $unit!("3", "3", "15", $at),
            $unit!("4", "4", "16", $at),
            $unit!("5", "5", "17", $at),
            $unit!("6", "6", "18", $at),
            $unit!("7", "7", "19", $at),
            $unit!("8", "8", "20", $at),
            $unit!("9", "9", "21", $at),
            $unit!("10", "10", "22", $at),
            $unit!("11", "11", "23", $at),
        )
    };
}

/// A row's number in all lanes, as an operand: that of a step of the period.
macro_rules! number {
    ($row:literal, $step:expr) => {
        concat!("dword ptr [{a} + {row_bytes}*", $row, " + 4*(", $step, ")]{{1to16}}\n")
    };
}

/// Two steps of columns: the first in registers 24 and 25, the second in 26 and 27.
macro_rules! columns {
    ($step:literal) => {
        concat!(
            "prefetcht0 [{b} + 1536 + 128*",
            $step,
            "]\nprefetcht0 [{b} + 1600 + 128*",
            $step,
            "]\nprefetcht0 [{b} + 1664 + 128*",
            $step,
            "]\nprefetcht0 [{b} + 1728 + 128*",
            $step,
            "]\n",
            "vmovups zmm24, [{b} + 128*",
            $step,
            "]\nvmovups zmm25, [{b} + 128*",
            $step,
            " + 64]\nvmovups zmm26, [{b} + 128*",
            $step,
            " + 128]\nvmovups zmm27, [{b} + 128*",
            $step,
            " + 192]\n",
        )
    };
}

/// Both numbers of a pair and both columns, added (or subtracted) crosswise, and multiplied into the sums.
macro_rules! pair {
    ($add:literal, $multiply:literal, $row:literal, $left:literal, $right:literal, $step:expr) => {
        concat!(
            concat!($add, " zmm28, zmm26, ", number!($row, $step)),
            concat!($add, " zmm29, zmm24, ", number!($row, concat!($step, " + 1"))),
            concat!($multiply, " zmm", $left, ", zmm28, zmm29\n"),
            concat!($add, " zmm30, zmm27, ", number!($row, $step)),
            concat!($add, " zmm31, zmm25, ", number!($row, concat!($step, " + 1"))),
            concat!($multiply, " zmm", $right, ", zmm30, zmm31\n"),
        )
    };
}

/// sums += (b₁ + a₀) · (b₀ + a₁)
macro_rules! plus {
    ($row:literal, $left:literal, $right:literal, $step:expr) => {
        pair!("vaddps", "vfmadd231ps", $row, $left, $right, $step)
    };
}

/// sums −= (b₁ − a₀) · (b₀ − a₁)
macro_rules! minus {
    ($row:literal, $left:literal, $right:literal, $step:expr) => {
        pair!("vsubps", "vfnmadd231ps", $row, $left, $right, $step)
    };
}

/// sums += a₀ · b₀ + a₁ · b₁
macro_rules! plain {
    ($row:literal, $left:literal, $right:literal, $step:expr) => {
        concat!(
            concat!("vfmadd231ps zmm", $left, ", zmm24, ", number!($row, $step)),
            concat!("vfmadd231ps zmm", $right, ", zmm25, ", number!($row, $step)),
            concat!("vfmadd231ps zmm", $left, ", zmm26, ", number!($row, concat!($step, " + 1"))),
            concat!("vfmadd231ps zmm", $right, ", zmm27, ", number!($row, concat!($step, " + 1"))),
        )
    };
}

/// [`crate::simd::Simd::paired_sums`]
///
/// # Safety
/// See there; at least one period.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) unsafe fn sums<const ROW: usize>(
    start: [__m512; VECTORS],
    periods: usize,
    a: *const f32,
    b: *const f32,
    next: *const f32,
) -> [[__m512; VECTORS]; ROWS] {
    debug_assert!(periods > 0);
    let [left, right] = start;
    let [mut l0, mut l1, mut l2, mut l3, mut l4, mut l5] = [left; 6];
    let [mut l6, mut l7, mut l8, mut l9, mut l10, mut l11] = [left; 6];
    let [mut r0, mut r1, mut r2, mut r3, mut r4, mut r5] = [right; 6];
    let [mut r6, mut r7, mut r8, mut r9, mut r10, mut r11] = [right; 6];
    // SAFETY: reads what the caller promises, the periods of one chunk after the other, and changes registers alone.
    unsafe {
        asm!(
            "2:",
            "mov {left:e}, {periods_of_piece}",
            "cmp {periods}, {left}",
            "cmovb {left}, {periods}",
            "sub {periods}, {left}",
            "3:",
            columns!("0"),
            rows!(plus, "0"),
            columns!("2"),
            rows!(minus, "2"),
            columns!("4"),
            rows!(plain, "4"),
            "prefetcht1 [{next}]",
            "add {next}, 64",
            "add {a}, 4*{period}",
            "add {b}, 128*{period}",
            "dec {left}",
            "jnz 3b",
            "add {a}, {to_next_piece}",
            "test {periods}, {periods}",
            "jnz 2b",
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            next = inout(reg) next => _,
            periods = inout(reg) periods => _,
            left = out(reg) _,
            periods_of_piece = const ROW / PERIOD,
            period = const PERIOD,
            row_bytes = const ROW * size_of::<f32>(),
            to_next_piece = const (ROW * ROWS - ROW / PERIOD * PERIOD) * size_of::<f32>(),
            inout("zmm0") l0, inout("zmm1") l1, inout("zmm2") l2, inout("zmm3") l3,
            inout("zmm4") l4, inout("zmm5") l5, inout("zmm6") l6, inout("zmm7") l7,
            inout("zmm8") l8, inout("zmm9") l9, inout("zmm10") l10, inout("zmm11") l11,
            inout("zmm12") r0, inout("zmm13") r1, inout("zmm14") r2, inout("zmm15") r3,
            inout("zmm16") r4, inout("zmm17") r5, inout("zmm18") r6, inout("zmm19") r7,
            inout("zmm20") r8, inout("zmm21") r9, inout("zmm22") r10, inout("zmm23") r11,
            out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
            out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(nostack, readonly),
        );
    }
    [
        [l0, r0],
        [l1, r1],
        [l2, r2],
        [l3, r3],
        [l4, r4],
        [l5, r5],
        [l6, r6],
        [l7, r7],
        [l8, r8],
        [l9, r9],
        [l10, r10],
        [l11, r11],
    ]
}
