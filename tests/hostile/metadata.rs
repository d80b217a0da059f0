//! Invalid groups, options and names.

use super::{C, Metadata, NoState, Row};
use wgpu_adam::{Error, StateDictError};

pub fn rows() -> Vec<Row> {
    vec![
        row!(
            "no metadata",
            |f| f.metadata("{}"),
            C(Metadata { .. }),
            "metadata \"optimizer\" of the checkpoint is missing, though there is state of an optimizer"
        ),
        row!(
            "weights alone",
            |f| {
                let header = br#"{"model.a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}"#;
                (f.header, f.data) = (header.to_vec(), vec![0; 10]);
            },
            C(NoState { tensors: 2, .. }),
            "there is no optimizer state in the file: it has 2 tensors, the first of them \"b\""
        ),
        row!(
            "weights alone, with metadata",
            |f| {
                let header =
                    br#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
                (f.header, f.data) = (header.to_vec(), vec![0; 8]);
            },
            C(NoState { tensors: 1, .. }),
            "no metadata \"optimizer\"; if these are a model's weights, write them to the parameters' buffers"
        ),
        row!(
            "no tensors and no metadata",
            |f| (f.header, f.data) = (b"{}".to_vec(), Vec::new()),
            C(Metadata { .. }),
            "\"optimizer\" of the checkpoint is missing, and so are all tensors"
        ),
        row!(
            "a later version",
            |f| f.replace("\"wgpu_adam.version\":\"1\"", "\"wgpu_adam.version\":\"2\""),
            C(Metadata { .. }),
            "\"wgpu_adam.version\" of the checkpoint is 2, and this crate reads up to 1"
        ),
        row!(
            "version 0",
            |f| f.replace("\"wgpu_adam.version\":\"1\"", "\"wgpu_adam.version\":\"0\""),
            C(Metadata { .. }),
            "is 0, and this crate reads"
        ),
        row!(
            "a version in words",
            |f| f.replace("\"wgpu_adam.version\":\"1\"", "\"wgpu_adam.version\":\"new\""),
            C(Metadata { .. }),
            "is \"new\" and no number"
        ),
        row!(
            "groups that are no JSON",
            |f| f.optimizer("nothing"),
            C(Metadata { .. }),
            "metadata \"optimizer\" of the checkpoint cannot be read"
        ),
        row!(
            "no groups",
            |f| f.optimizer("{}"),
            C(Metadata { .. }),
            "\"optimizer.param_groups\" of the checkpoint is missing"
        ),
        row!(
            "groups that are a number",
            |f| f.optimizer(r#"{"param_groups":3}"#),
            C(Metadata { .. }),
            "\"optimizer.param_groups\" of the checkpoint is 3"
        ),
        row!(
            "a group that is a list",
            |f| f.optimizer(r#"{"param_groups":[[]]}"#),
            C(Metadata { .. }),
            "\"optimizer.param_groups[0]\" of the checkpoint cannot be read"
        ),
        row!(
            "a group without params",
            |f| f.in_optimizer(r#""params":[0]"#, r#""unparams":[0]"#),
            C(Metadata { .. }),
            "\"optimizer.param_groups[0].params\" of the checkpoint is missing"
        ),
        row!(
            "an option twice",
            |f| f.in_optimizer(r#""lr":0.001"#, r#""lr":0.001,"lr":1.0"#),
            C(Metadata { .. }),
            "\"optimizer.param_groups[0]\" of the checkpoint cannot be read: \"lr\" is there twice"
        ),
        row!(
            "NaN lr, as Python writes it",
            |f| f.in_optimizer(r#""lr":0.001"#, r#""lr":NaN"#),
            C(Metadata { .. }),
            "cannot be read"
        ),
        row!(
            "NaN lr, as text",
            |f| f.in_optimizer(r#""lr":0.001"#, r#""lr":"NaN""#),
            C(Metadata { .. }),
            "\"optimizer.param_groups[0].lr\" of the checkpoint is \"NaN\": invalid type"
        ),
        row!(
            "lr beyond f64",
            |f| f.in_optimizer(r#""lr":0.001"#, r#""lr":1e999"#),
            C(Metadata { .. }),
            "\"optimizer.param_groups[0].lr\" of the checkpoint is 1e999: number out of range"
        ),
        row!(
            "lr beyond f32",
            |f| f.in_optimizer(r#""lr":0.001"#, r#""lr":1e99"#),
            Error::InvalidOption { option: "lr", group: Some(0), .. },
            "invalid lr of group 0"
        ),
        row!(
            "negative lr",
            |f| f.in_optimizer(r#""lr":0.001"#, r#""lr":-1"#),
            Error::InvalidOption { option: "lr", group: Some(0), .. },
            "invalid lr of group 0: -1"
        ),
        row!(
            "beta2 of 1",
            |f| f.in_optimizer("[0.9,0.999]", "[0.9,1.0]"),
            Error::InvalidOption { option: "beta2", .. },
            "invalid beta2 of group 0: 1"
        ),
        row!(
            "one beta",
            |f| f.in_optimizer("[0.9,0.999]", "[0.9]"),
            C(Metadata { .. }),
            "\"optimizer.param_groups[0].betas\" of the checkpoint is [0.9]: invalid length 1"
        ),
        row!(
            "no lr",
            |f| f.in_optimizer(r#""lr":0.001"#, r#""lrate":0.001"#),
            Error::StateDict(StateDictError::MissingOption { group: 0, option: "lr" }),
            "group 0 of the state dict has no lr"
        ),
        row!(
            "amsgrad of 1",
            |f| f.in_optimizer(r#""amsgrad":false"#, r#""amsgrad":1"#),
            C(Metadata { .. }),
            "\"optimizer.param_groups[0].amsgrad\" of the checkpoint is 1: invalid type"
        ),
        row!(
            "a negative id",
            |f| f.in_optimizer(r#""params":[0]"#, r#""params":[-1]"#),
            C(Metadata { .. }),
            "\"optimizer.param_groups[0].params\" of the checkpoint is [-1]"
        ),
        row!(
            "an id twice",
            |f| f.in_optimizer(r#""params":[1]"#, r#""params":[0]"#),
            C(Metadata { .. }),
            "\"optimizer.param_groups[1].params\" of the checkpoint has the id 0, which was there before"
        ),
        row!(
            "an id without a name",
            |f| f.in_optimizer(r#""params":[1]"#, r#""params":[7]"#),
            C(Metadata { .. }),
            "has no name for id 7"
        ),
        row!(
            "a name too few",
            |f| f.in_optimizer(r#"["a","b"]"#, r#"["a"]"#),
            C(Metadata { .. }),
            "\"optimizer.param_names\" of the checkpoint has 1 names for 2 parameters"
        ),
        row!(
            "a parameter's name twice",
            |f| f.in_optimizer(r#"["a","b"]"#, r#"["a","a"]"#),
            C(Metadata { .. }),
            "has the name \"a\", which was there before"
        ),
        row!(
            "a name that is a number",
            |f| f.in_optimizer(r#"["a","b"]"#, r#"["a",1]"#),
            C(Metadata { .. }),
            "\"optimizer.param_names\" of the checkpoint is [\"a\",1]"
        ),
    ]
}
