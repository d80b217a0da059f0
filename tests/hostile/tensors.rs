//! Headers that describe invalid tensors.

use super::{C, Header, Row, Tensor};

pub fn rows() -> Vec<Row> {
    vec![
        row!(
            "10 GB claimed",
            |f| f.tensor("optimizer.state.b.step", "F32", "[2500000000]", 124, 124 + 10_000_000_000),
            C(Tensor { .. }),
            "ends at byte 10000000124 of 128"
        ),
        row!(
            "a shape that overflows",
            |f| f.tensor("optimizer.state.b.step", "F32", "[4294967296,4294967296,4]", 124, 128),
            C(Tensor { .. }),
            "has the shape [4294967296, 4294967296, 4], which is too large"
        ),
        row!(
            "a dimension beyond 64 bits",
            |f| f.tensor("optimizer.state.b.step", "F32", "[36893488147419103232]", 124, 128),
            C(Header { .. }),
            "\"optimizer.state.b.step\": invalid"
        ),
        row!(
            "a negative dimension",
            |f| f.tensor("optimizer.state.b.step", "F32", "[-1]", 124, 128),
            C(Header { .. }),
            "\"optimizer.state.b.step\": invalid value"
        ),
        row!(
            "a dimension of 1.5",
            |f| f.tensor("optimizer.state.b.step", "F32", "[1.5]", 124, 128),
            C(Header { .. }),
            "\"optimizer.state.b.step\": invalid type"
        ),
        row!(
            "too many dimensions",
            |f| f.tensor("optimizer.state.b.step", "F32", &format!("[{}1]", "1,".repeat(1000)), 124, 128),
            C(Tensor { .. }),
            "of 1001 dimensions, which is too large"
        ),
        row!(
            "a negative offset",
            |f| f.text_of("optimizer.state.b.step", "\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[-4,0]"),
            C(Header { .. }),
            "\"optimizer.state.b.step\": invalid value"
        ),
        row!(
            "offsets in the wrong order",
            |f| f.tensor("optimizer.state.b.step", "F32", "[]", 128, 124),
            C(Tensor { .. }),
            "ends at byte 124, before it begins at 128"
        ),
        row!(
            "three offsets",
            |f| f.text_of("optimizer.state.b.step", "\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[124,128,132]"),
            C(Header { .. }),
            "\"optimizer.state.b.step\": "
        ),
        row!(
            "no offsets",
            |f| f.text_of("optimizer.state.b.step", "\"dtype\":\"F32\",\"shape\":[]"),
            C(Header { .. }),
            "missing field `data_offsets`"
        ),
        row!(
            "no type",
            |f| f.text_of("optimizer.state.b.step", "\"shape\":[],\"data_offsets\":[124,128]"),
            C(Header { .. }),
            "missing field `dtype`"
        ),
        row!(
            "an unknown type",
            |f| f.tensor("optimizer.state.b.step", "F31", "[]", 124, 128),
            C(Header { .. }),
            "\"optimizer.state.b.step\": unknown variant `F31`"
        ),
        row!(
            "overlapping tensors",
            |f| f.tensor("optimizer.state.b.step", "F32", "[]", 120, 124),
            C(Tensor { .. }),
            "within tensor \"optimizer.state.b.max_exp_avg_sq\""
        ),
        row!(
            "a gap",
            |f| {
                f.tensor("optimizer.state.b.step", "F32", "[]", 132, 136);
                f.data.extend([0; 8]);
            },
            C(Tensor { .. }),
            "\"optimizer.state.b.step\" of the checkpoint begins at byte 132, and nothing fills the bytes from 124 on"
        ),
        row!(
            "more bytes than the shape has",
            |f| f.tensor("optimizer.state.b.step", "F32", "[]", 124, 132),
            C(Tensor { .. }),
            "takes 8 bytes, where F32 of shape [] takes 4"
        ),
        row!(
            "a name twice",
            |f| f.replace("\"optimizer.state.b.exp_avg\"", "\"optimizer.state.a.exp_avg\""),
            C(Header { .. }),
            "\"optimizer.state.a.exp_avg\" is there twice"
        ),
        row!(
            "metadata twice",
            |f| f.replace("{\"__metadata__\"", "{\"__metadata__\":{},\"__metadata__\""),
            C(Header { .. }),
            "\"__metadata__\" is there twice"
        ),
        row!(
            "a key of metadata twice",
            |f| f.replace("\"wgpu_adam.version\":\"1\"", "\"note\":\"1\",\"note\":\"2\""),
            C(Header { .. }),
            "\"note\" is there twice"
        ),
        row!(
            "metadata that is no text",
            |f| f.replace("\"wgpu_adam.version\":\"1\"", "\"note\":1"),
            C(Header { .. }),
            "\"__metadata__\": invalid type: integer `1`"
        ),
    ]
}
