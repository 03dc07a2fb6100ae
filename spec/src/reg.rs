// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a register is, and the one table of them all.

use core::fmt;

/// A bit field `lsb..=msb` of a 32-bit register or dword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The vendor's name.
    pub name: &'static str,
    /// Lowest bit.
    pub lsb: u8,
    /// Highest bit.
    pub msb: u8,
}

impl Field {
    /// A field called `name` at bits `msb:lsb`.
    pub const fn new(name: &'static str, msb: u8, lsb: u8) -> Self {
        assert!(msb < 32 && lsb <= msb);
        Self { name, lsb, msb }
    }
    /// The field's bits within its dword.
    pub const fn mask(self) -> u32 {
        (u32::MAX >> (31 - (self.msb - self.lsb))) << self.lsb
    }
    /// The field's value in `dword`.
    pub const fn get(self, dword: u32) -> u32 {
        (dword & self.mask()) >> self.lsb
    }
    /// Whether any bit of the field is set in `dword`.
    pub const fn is_set(self, dword: u32) -> bool {
        dword & self.mask() != 0
    }
    /// `dword` with the field set to `value`, whose excess bits are dropped.
    pub const fn set(self, dword: u32, value: u32) -> u32 {
        (dword & !self.mask()) | ((value << self.lsb) & self.mask())
    }
    /// `value` in the field's place, all other bits clear.
    pub const fn of(self, value: u32) -> u32 {
        self.set(0, value)
    }
}

/// How software may use a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and write.
    Rw,
    /// Writes are ignored.
    Ro,
    /// Reads as zero.
    Wo,
    /// A read or a write has an effect of its own, told in the register's documentation.
    Special,
}

impl Access {
    /// The two-letter tag of the register reference.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Rw => "RW",
            Self::Ro => "RO",
            Self::Wo => "WO",
            Self::Special => "RX",
        }
    }
}

/// A register, or `count` equal ones `stride` dwords apart.
#[derive(Clone, Copy, Debug)]
pub struct Reg {
    /// The vendor's name; `{}` stands for the element's number where `count` > 1, `{r}` for an SDMA ring's name.
    pub name: &'static str,
    /// Dword offset of element 0 from the block's base.
    pub offset: u32,
    /// Elements.
    pub count: u32,
    /// Dwords from one element to the next.
    pub stride: u32,
    /// Value after reset.
    pub reset: u32,
    /// How software may use it.
    pub access: Access,
    /// Bit fields; none means that the whole dword is one value.
    pub fields: &'static [Field],
    /// One sentence of documentation.
    pub doc: &'static str,
}

impl Reg {
    /// Dword offset of element `n` from the block's base.
    pub const fn at(&self, n: u32) -> u32 {
        self.offset + n * self.stride
    }
    /// Bits that software may set: those of its fields, or all of them where there are none.
    pub fn writable(&self) -> u32 {
        match (self.access, self.fields) {
            (Access::Ro, _) => 0,
            (_, []) => u32::MAX,
            (_, fields) => fields.iter().fold(0, |mask, f| mask | f.mask()),
        }
    }
}

/// An instance of a hardware block in the register space.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// What decoders put before a register's name.
    pub prefix: &'static str,
    /// Dword index of the block's offset 0.
    pub base: u32,
    /// Its registers.
    pub regs: &'static [&'static Reg],
}

impl Block {
    /// Dword index of element `n` of `reg` in this instance.
    pub const fn index(&self, reg: &Reg, n: u32) -> u32 {
        self.base + reg.at(n)
    }
    /// The register and element at dword offset `offset` of the block.
    pub fn find(&self, offset: u32) -> Option<(&'static Reg, u32)> {
        self.regs.iter().find_map(|reg| {
            let n = offset.checked_sub(reg.offset)?;
            // A register that does not repeat has no stride.
            let element = n.checked_div(reg.stride).unwrap_or(0);
            (element < reg.count && reg.at(element) == offset).then_some((*reg, element))
        })
    }
    /// Dwords from the base to the end of the last register.
    pub fn dwords(&self) -> u32 {
        self.regs.iter().map(|r| r.at(r.count - 1) + 1).max().unwrap_or(0)
    }
}

/// Every block instance, in register-space order of their bases.
pub const BLOCKS: &[&Block] = &[
    &crate::nbio::NBIO,
    &crate::ih::OSSSYS,
    &crate::sdma::SDMA0,
    &crate::sdma::SDMA1,
    &crate::access::ACCESS,
    &crate::hub::GC_HUB,
    &crate::hub::MM_HUB,
    &crate::vidmm::VIDMM,
    &crate::annotate::ANNOTATE,
    &crate::counters::COUNTERS,
];

/// A register found by its index; `Display` prints the vendor's name.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    /// The block instance.
    pub block: &'static Block,
    /// The register.
    pub reg: &'static Reg,
    /// Which of its elements.
    pub element: u32,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.block.prefix)?;
        if let Some((head, tail)) = self.reg.name.split_once("{}") {
            return write!(f, "{head}{}{tail}", self.element);
        }
        match (self.reg.name.strip_prefix("{r}"), crate::sdma::RING_NAMES.get(self.element as usize)) {
            (Some(tail), Some(ring)) => write!(f, "{ring}{tail}"),
            _ => f.write_str(self.reg.name),
        }
    }
}

/// The register at dword `index`, if one is defined there.
pub fn lookup(index: u32) -> Option<Located> {
    BLOCKS.iter().find_map(|block| {
        let (reg, element) = block.find(index.checked_sub(block.base)?)?;
        Some(Located { block, reg, element })
    })
}

/// Declares a block's registers: for each a `const NAME: Reg` and a module `NAME` with its fields, and `REGS`, the list.
macro_rules! registers {
    (@n $n:literal) => { $n };
    (@n) => { 1 };
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $text:literal @ $off:literal $([$count:literal; $stride:literal])? $access:ident $(= $reset:literal)?
        { $($field:ident $msb:literal $(: $lsb:literal)?),* $(,)? }
    )*) => {
        $(
            $(#[doc = $doc])+
            pub const $name: $crate::Reg = $crate::Reg {
                name: $text,
                offset: $off,
                count: registers!(@n $($count)?),
                stride: 0 $(+ $stride)?,
                reset: 0 $(+ $reset)?,
                access: $crate::Access::$access,
                fields: &[$(self::$name::$field),*],
                doc: concat!($($doc),+),
            };
            #[allow(non_snake_case, missing_docs)]
            #[doc = concat!("Fields of [`", stringify!($name), "`](const@", stringify!($name), ").")]
            pub mod $name {
                $(pub const $field: $crate::Field = {
                    #[allow(unused_variables)]
                    let lsb = $msb;
                    $(let lsb = $lsb;)?
                    $crate::Field::new(stringify!($field), $msb, lsb)
                };)*
            }
        )*
        /// All registers of the block.
        pub const REGS: &[&$crate::Reg] = &[$(&$name),*];
    };
}
