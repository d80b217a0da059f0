//! The types of numbers in a file.

use crate::error::checkpoint::CheckpointError;

/// A list of this crate, so that another version of the format's crate does not change this crate's public types.
macro_rules! dtypes {
    ($($name:ident, $bits:literal, $doc:literal;)*) => {
        /// The type of a tensor's numbers, as safetensors files spell it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types, reason = "the format's names")]
        #[non_exhaustive]
        pub enum Dtype {
            $(#[doc = $doc] $name,)*
        }

        impl Dtype {
            /// The bits of one number.
            #[must_use]
            pub const fn bits(self) -> usize {
                match self { $(Self::$name => $bits,)* }
            }

            pub(super) fn known(format: safetensors::Dtype) -> Result<Self, CheckpointError> {
                match format {
                    $(safetensors::Dtype::$name => Ok(Self::$name),)*
                    other => Err(CheckpointError::header(format!("its type {other:?} is not known"))),
                }
            }

            pub(super) const fn format(self) -> safetensors::Dtype {
                match self { $(Self::$name => safetensors::Dtype::$name,)* }
            }
        }
    };
}

// In the format's order: by alignment.
dtypes! {
    BOOL, 8, "A byte, 0 or 1.";
    F4, 4, "Two numbers of 4 bits in a byte (MXFP4).";
    F6_E2M3, 6, "6 bits: 2 of exponent, 3 of mantissa.";
    F6_E3M2, 6, "6 bits: 3 of exponent, 2 of mantissa.";
    U8, 8, "An unsigned integer.";
    I8, 8, "A signed integer.";
    F8_E5M2, 8, "8 bits: 5 of exponent, 2 of mantissa.";
    F8_E4M3, 8, "8 bits: 4 of exponent, 3 of mantissa.";
    F8_E8M0, 8, "A power of two.";
    F8_E4M3FNUZ, 8, "8 bits: 4 of exponent, 3 of mantissa, without infinities and negative zero.";
    F8_E5M2FNUZ, 8, "8 bits: 5 of exponent, 2 of mantissa, without infinities and negative zero.";
    I16, 16, "A signed integer.";
    U16, 16, "An unsigned integer.";
    F16, 16, "IEEE binary16.";
    BF16, 16, "The upper half of an F32.";
    I32, 32, "A signed integer.";
    U32, 32, "An unsigned integer.";
    F32, 32, "IEEE binary32.";
    C64, 64, "A complex number of two F32.";
    F64, 64, "IEEE binary64.";
    I64, 64, "A signed integer.";
    U64, 64, "An unsigned integer.";
}

#[cfg(test)]
mod tests {
    use super::Dtype;

    /// Sizes and order are the format's.
    #[test]
    fn as_the_format_has_them() {
        let all = [
            Dtype::BOOL,
            Dtype::F4,
            Dtype::F6_E2M3,
            Dtype::F6_E3M2,
            Dtype::U8,
            Dtype::I8,
            Dtype::F8_E5M2,
            Dtype::F8_E4M3,
            Dtype::F8_E8M0,
            Dtype::F8_E4M3FNUZ,
            Dtype::F8_E5M2FNUZ,
            Dtype::I16,
            Dtype::U16,
            Dtype::F16,
            Dtype::BF16,
            Dtype::I32,
            Dtype::U32,
            Dtype::F32,
            Dtype::C64,
            Dtype::F64,
            Dtype::I64,
            Dtype::U64,
        ];
        for pair in all.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].format() < pair[1].format(), "{pair:?}");
        }
        for dtype in all {
            assert_eq!(
                (Dtype::known(dtype.format()), dtype.bits()),
                (Ok(dtype), dtype.format().bitsize()),
                "{dtype:?}"
            );
            assert_eq!(format!("{dtype:?}"), format!("{:?}", dtype.format()));
        }
    }
}
