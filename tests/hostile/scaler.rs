//! Invalid loss scales, which no GradScaler has.

use super::{C, Metadata, Row};
use wgpu_adam::Error;

pub fn rows() -> Vec<Row> {
    vec![
        row!(
            "a scale of 0",
            |f| f.in_grad_scaler("1536.0", "0.0"),
            Error::InvalidOption { option: "grad_scaler.scale", group: None, .. },
            "invalid grad_scaler.scale: 0; it must be above 0 and finite"
        ),
        row!(
            "a negative scale",
            |f| f.in_grad_scaler("1536.0", "-1536"),
            Error::InvalidOption { option: "grad_scaler.scale", .. },
            "invalid grad_scaler.scale: -1536"
        ),
        row!(
            "a scale beyond f32",
            |f| f.in_grad_scaler("1536.0", "1e39"),
            Error::InvalidOption { option: "grad_scaler.scale", .. },
            "invalid grad_scaler.scale: 1e39"
        ),
        row!(
            "a scale beyond f64",
            |f| f.in_grad_scaler("1536.0", "1e999"),
            C(Metadata { .. }),
            "\"grad_scaler.scale\" of the checkpoint is 1e999: number out of range"
        ),
        row!(
            "a scale whose reciprocal is infinite",
            |f| f.in_grad_scaler("1536.0", "1e-39"),
            Error::InvalidOption { option: "grad_scaler.scale", .. },
            "and so its reciprocal, after rounding to f32"
        ),
        row!(
            "a scale that is not a number, as Python writes it",
            |f| f.in_grad_scaler("1536.0", "NaN"),
            C(Metadata { .. }),
            "metadata \"grad_scaler\" of the checkpoint cannot be read"
        ),
        row!(
            "an infinite scale, as Python writes it",
            |f| f.in_grad_scaler("1536.0", "Infinity"),
            C(Metadata { .. }),
            "metadata \"grad_scaler\" of the checkpoint cannot be read"
        ),
        row!(
            "a scale in words",
            |f| f.in_grad_scaler("1536.0", "\"1536\""),
            C(Metadata { .. }),
            "\"grad_scaler.scale\" of the checkpoint is \"1536\": invalid type"
        ),
        row!(
            "no scale",
            |f| f.in_grad_scaler("\"scale\"", "\"other\""),
            C(Metadata { .. }),
            "\"grad_scaler.scale\" of the checkpoint is missing"
        ),
        row!(
            "two scales",
            |f| f.in_grad_scaler("\"scale\":1536.0", "\"scale\":1536.0,\"scale\":1.0"),
            C(Metadata { .. }),
            "\"scale\" is there twice"
        ),
        row!(
            "the state of a scaler that is disabled",
            |f| {
                let header = String::from_utf8(f.header.clone()).unwrap();
                let (begin, end) = (header.find(r#"{\"_growth"#).unwrap(), header.find(r#":1536.0}"#).unwrap());
                f.replace(&header[begin..end + 8], "{}");
            },
            C(Metadata { .. }),
            "\"grad_scaler.scale\" of the checkpoint is missing"
        ),
        row!(
            "a scaler that is a list",
            |f| f.in_grad_scaler("{", "[{"),
            C(Metadata { .. }),
            "metadata \"grad_scaler\" of the checkpoint cannot be read"
        ),
        row!(
            "growth by nothing",
            |f| f.in_grad_scaler("2.0", "1.0"),
            Error::InvalidOption { option: "grad_scaler.growth_factor", .. },
            "invalid grad_scaler.growth_factor: 1; it must be above 1"
        ),
        row!(
            "growth beyond f32",
            |f| f.in_grad_scaler("2.0", "1e39"),
            Error::InvalidOption { option: "grad_scaler.growth_factor", .. },
            "invalid grad_scaler.growth_factor"
        ),
        row!(
            "backing off by nothing",
            |f| f.in_grad_scaler("0.5", "1.0"),
            Error::InvalidOption { option: "grad_scaler.backoff_factor", .. },
            "invalid grad_scaler.backoff_factor: 1; it must be between 0 and 1"
        ),
        row!(
            "backing off to nothing",
            |f| f.in_grad_scaler("0.5", "0"),
            Error::InvalidOption { option: "grad_scaler.backoff_factor", .. },
            "invalid grad_scaler.backoff_factor: 0"
        ),
        row!(
            "an interval of 0",
            |f| f.in_grad_scaler("100", "0"),
            Error::InvalidOption { option: "grad_scaler.growth_interval", .. },
            "invalid grad_scaler.growth_interval: 0; it must be at least 1"
        ),
        row!(
            "an interval that is no integer",
            |f| f.in_grad_scaler("100", "100.5"),
            C(Metadata { .. }),
            "\"grad_scaler.growth_interval\" of the checkpoint is 100.5: invalid type"
        ),
        row!(
            "an interval beyond u32",
            |f| f.in_grad_scaler("100", "4294967296"),
            C(Metadata { .. }),
            "\"grad_scaler.growth_interval\" of the checkpoint is 4294967296: invalid value"
        ),
        row!(
            "a negative tracker",
            |f| f.in_grad_scaler("17", "-1"),
            C(Metadata { .. }),
            "\"grad_scaler._growth_tracker\" of the checkpoint is -1: invalid value"
        ),
        row!(
            "a tracker beyond torch's",
            |f| f.in_grad_scaler("17", "2147483648"),
            Error::InvalidOption { option: "grad_scaler.growth_tracker", .. },
            "invalid grad_scaler.growth_tracker: 2147483648; it must be below 2^31"
        ),
        row!(
            "no tracker",
            |f| f.in_grad_scaler("_growth_tracker", "growth_tracker"),
            C(Metadata { .. }),
            "\"grad_scaler._growth_tracker\" of the checkpoint is missing"
        ),
    ]
}
