//! Invalid state, which no Adam run has.

use super::{C, Missing, Row, Tensor, Value};

pub fn rows() -> Vec<Row> {
    vec![
        row!(
            "moments of f64",
            |f| {
                f.retype("optimizer.state.a.exp_avg_sq", "F64", "[3]");
            },
            C(Tensor { .. }),
            "\"optimizer.state.a.exp_avg_sq\" of the checkpoint is F64 instead of F32"
        ),
        row!(
            "moments of i32",
            |f| {
                f.retype("optimizer.state.a.exp_avg", "I32", "[2,3]");
            },
            C(Tensor { .. }),
            "\"optimizer.state.a.exp_avg\" of the checkpoint is I32 instead of F32"
        ),
        row!(
            "moments of two shapes",
            |f| f.retype("optimizer.state.a.exp_avg_sq", "F32", "[3,2]"),
            C(Tensor { .. }),
            "has the shape [3, 2], and exp_avg [2, 3]"
        ),
        row!(
            "a model of another shape",
            |f| f.retype("model.a", "F32", "[6]"),
            C(Tensor { .. }),
            "\"model.a\" of the checkpoint has the shape [6], and its exp_avg [2, 3]"
        ),
        row!(
            "no step",
            |f| f.rename("optimizer.state.a.step", "other"),
            C(Missing { .. }),
            "has no tensor \"optimizer.state.a.step\", though it has moments"
        ),
        row!(
            "no exp_avg",
            |f| f.rename("optimizer.state.a.exp_avg", "other"),
            C(Missing { .. }),
            "has no tensor \"optimizer.state.a.exp_avg\""
        ),
        row!(
            "no exp_avg_sq",
            |f| f.rename("optimizer.state.a.exp_avg_sq", "other"),
            C(Missing { .. }),
            "has no tensor \"optimizer.state.a.exp_avg_sq\""
        ),
        row!(
            "a step and no moments",
            |f| {
                f.rename("optimizer.state.a.exp_avg", "x");
                f.rename("optimizer.state.a.exp_avg_sq", "y");
            },
            C(Missing { .. }),
            "has no tensor \"optimizer.state.a.exp_avg\""
        ),
        row!(
            "amsgrad without a maximum",
            |f| f.rename("optimizer.state.b.max_exp_avg_sq", "other"),
            C(Missing { .. }),
            "\"optimizer.state.b.max_exp_avg_sq\", and the parameter's group uses amsgrad"
        ),
        row!(
            "state of nobody",
            |f| f.rename("optimizer.state.a.exp_avg", "optimizer.state.c.exp_avg"),
            C(Tensor { .. }),
            "\"optimizer.state.c.exp_avg\" of the checkpoint is state of a parameter that no group has"
        ),
        row!(
            "a negative step",
            |f| f.write("optimizer.state.a.step", &(-1_f32).to_le_bytes()),
            C(Tensor { .. }),
            "\"optimizer.state.a.step\" of the checkpoint is -1; a step count is a whole number"
        ),
        row!(
            "a step that is no integer",
            |f| f.write("optimizer.state.a.step", &2.5_f32.to_le_bytes()),
            C(Tensor { .. }),
            "is 2.5; a step count is a whole number"
        ),
        row!(
            "a step of NaN",
            |f| f.write("optimizer.state.a.step", &f32::NAN.to_le_bytes()),
            C(Tensor { .. }),
            "is NaN; a step count"
        ),
        row!(
            "an infinite step",
            |f| f.write("optimizer.state.a.step", &f32::INFINITY.to_le_bytes()),
            C(Tensor { .. }),
            "is inf; a step count"
        ),
        row!(
            "a step beyond counting",
            |f| f.write("optimizer.state.a.step", &1e30_f32.to_le_bytes()),
            C(Tensor { .. }),
            "a step count is a whole number"
        ),
        row!(
            "a step just past f64's whole numbers",
            |f| f.step("optimizer.state.a.step", "U64", &((1_u64 << 53) + 1).to_le_bytes()),
            C(Tensor { .. }),
            "is 9007199254740993; a step count is a whole number from 0 to 2^53"
        ),
        row!(
            "the last step that a u64 counts",
            |f| f.step("optimizer.state.a.step", "U64", &u64::MAX.to_le_bytes()),
            C(Tensor { .. }),
            "\"optimizer.state.a.step\" of the checkpoint is 18446744073709551615; a step count"
        ),
        row!(
            "the last step that an i64 counts",
            |f| f.step("optimizer.state.a.step", "I64", &i64::MAX.to_le_bytes()),
            C(Tensor { .. }),
            "is 9223372036854775807; a step count"
        ),
        row!(
            "a negative step of i64",
            |f| f.step("optimizer.state.a.step", "I64", &(-1_i64).to_le_bytes()),
            C(Tensor { .. }),
            "is -1; a step count"
        ),
        row!(
            "a step of f64 past its whole numbers",
            |f| f.step("optimizer.state.a.step", "F64", &(((1_u64 << 53) + 2) as f64).to_le_bytes()),
            C(Tensor { .. }),
            "is 9007199254740994; a step count"
        ),
        row!(
            "a step of i32",
            |f| f.retype("optimizer.state.a.step", "I32", "[]"),
            C(Tensor { .. }),
            "is I32; a step count is F32, F64, I64 or U64"
        ),
        row!(
            "four steps",
            |f| f.retype("optimizer.state.a.step", "U8", "[4]"),
            C(Tensor { .. }),
            "has the shape [4]; a step count is one number"
        ),
        row!(
            "moments before the first step",
            |f| f.write("optimizer.state.a.step", &0_f32.to_le_bytes()),
            C(Value { .. }),
            "\"optimizer.state.a.exp_avg\" of the checkpoint has taken no step and is not zero at element 0"
        ),
        row!(
            "NaN before the first step",
            |f| {
                f.write("optimizer.state.a.step", &0_f32.to_le_bytes());
                f.write("optimizer.state.a.exp_avg", &f32::NAN.to_le_bytes());
            },
            C(Value { element: 0, .. }),
            "\"optimizer.state.a.exp_avg\" of the checkpoint has taken no step and is not zero at element 0: NaN"
        ),
        row!(
            "negative infinite exp_avg_sq",
            |f| f.write_at("optimizer.state.b.exp_avg_sq", 4, &f32::NEG_INFINITY.to_le_bytes()),
            C(Value { element: 1, .. }),
            "\"optimizer.state.b.exp_avg_sq\" of the checkpoint is negative at element 1: -inf"
        ),
        row!(
            "negative exp_avg_sq behind NaN",
            |f| {
                f.write_at("optimizer.state.b.exp_avg_sq", 0, &f32::NAN.to_le_bytes());
                f.write_at("optimizer.state.b.exp_avg_sq", 12, &(-2_f32).to_le_bytes());
            },
            C(Value { element: 3, .. }),
            "is negative at element 3: -2"
        ),
        row!(
            "a negative square behind another tensor's NaN",
            |f| {
                f.write("optimizer.state.a.exp_avg", &f32::NAN.to_le_bytes());
                f.write("optimizer.state.b.exp_avg_sq", &(-2_f32).to_le_bytes());
            },
            C(Value { element: 0, .. }),
            "\"optimizer.state.b.exp_avg_sq\" of the checkpoint is negative at element 0: -2"
        ),
        row!(
            "negative exp_avg_sq",
            |f| f.write("optimizer.state.b.exp_avg_sq", &(-1e-30_f32).to_le_bytes()),
            C(Value { element: 0, .. }),
            "is negative at element 0"
        ),
        row!(
            "negative max_exp_avg_sq",
            |f| f.write("optimizer.state.b.max_exp_avg_sq", &(-1_f32).to_le_bytes()),
            C(Value { .. }),
            "\"optimizer.state.b.max_exp_avg_sq\" of the checkpoint is negative at element 0: -1"
        ),
    ]
}
