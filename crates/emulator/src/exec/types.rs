//! The types that instructions name: `.u32`, `.bf16x2`.

/// The type of an instruction, with its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Pred,
    Bits(u8),
    Unsigned(u8),
    Signed(u8),
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F64,
}

impl Type {
    /// From its name without the dot.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "pred" => Self::Pred,
            "f16" => Self::F16,
            "f16x2" => Self::F16x2,
            "bf16" => Self::Bf16,
            "bf16x2" => Self::Bf16x2,
            "tf32" => Self::Tf32,
            "f32" => Self::F32,
            "f64" => Self::F64,
            _ => {
                let bits = name.get(1..)?.parse().ok().filter(|it| [8, 16, 32, 64].contains(it))?;
                match &name[..1] {
                    "b" => Self::Bits(bits),
                    "u" => Self::Unsigned(bits),
                    "s" => Self::Signed(bits),
                    _ => return None,
                }
            }
        })
    }

    /// Its size; 8 for predicates.
    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::Pred => 8,
            Self::Bits(it) | Self::Unsigned(it) | Self::Signed(it) => it,
            Self::F16 | Self::Bf16 => 16,
            Self::F16x2 | Self::Bf16x2 | Self::F32 | Self::Tf32 => 32,
            Self::F64 => 64,
        }
    }

    /// Whether it is an integer with a sign.
    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Self::Signed(_))
    }

    /// Whether it is an integer or has no meaning.
    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Self::Bits(_) | Self::Unsigned(_) | Self::Signed(_))
    }
}
