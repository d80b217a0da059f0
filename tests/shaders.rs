//! The shaders without a GPU: they parse, validate without optional capabilities, accept every variant's overrides, and
//! translate for every backend; and every struct, binding and override equals the host's. Reports all failures at once.
//! This file tests adam.wgsl, `shaders/control.rs` the shaders of gradient control.

use naga::back::{hlsl, msl, spv};
use naga::proc::{Layouter, TypeLayout};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Expression, Literal, Module, ScalarKind, ShaderStage, TypeInner};

#[allow(dead_code, reason = "the test reads what it compares")]
#[path = "../src/layout.rs"]
mod layout;

use layout::{Frame, Hyper, Tile, binding, hyper_flags, overrides};

const ADAM: &str = include_str!("../shaders/adam.wgsl");
/// The modules: a storage prelude, then adam.wgsl.
const MODULES: [(&str, &str); 2] = [
    (
        "storage_vec4.wgsl + adam.wgsl",
        concat!(include_str!("../shaders/storage_vec4.wgsl"), include_str!("../shaders/adam.wgsl")),
    ),
    (
        "storage_scalar.wgsl + adam.wgsl",
        concat!(include_str!("../shaders/storage_scalar.wgsl"), include_str!("../shaders/adam.wgsl")),
    ),
];
const FLAGS: [&str; 8] = [
    overrides::TILED,
    overrides::NEIGHBOURS,
    overrides::AT_START,
    overrides::AMSGRAD,
    overrides::DECOUPLED_WEIGHT_DECAY,
    overrides::GRADIENT_CONTROL,
    overrides::CLIP_VALUE,
    overrides::GRAD_IN_PARAM_BUFFER,
];
/// Overrides of type u32, and their defaults if those are plain numbers.
const NUMBERS: [(&str, Option<u32>); 4] = [
    (overrides::WORKGROUP_SIZE, Some(layout::WORKGROUP_SIZE)),
    (overrides::GRID_WIDTH, Some(layout::GRID_WIDTH)),
    (overrides::QUADS_LOG2, Some(0)),
    ("TILE_INVOCATIONS_LOG2", None),
];

const HYPER_FLAGS: [(&str, u32); 3] = [
    ("SKIP", hyper_flags::SKIP),
    ("EXP_AVG_BETA", hyper_flags::EXP_AVG_BETA),
    ("EXP_AVG_SQ_BETA", hyper_flags::EXP_AVG_SQ_BETA),
];

/// Collects failures, and shows them together.
#[derive(Default)]
struct Report {
    checks: usize,
    failures: Vec<String>,
}

impl Report {
    fn check(&mut self, what: impl FnOnce() -> String, problem: Option<String>) {
        self.checks += 1;
        if let Some(problem) = problem {
            self.failures.push(format!("{}: {problem}", what()));
        }
    }

    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: impl FnOnce() -> String, wgsl: T, host: T) {
        let problem = (wgsl != host).then(|| format!("{wgsl:?} in WGSL, {host:?} on the host"));
        self.check(what, problem);
    }

    fn finish(self, at_least: usize) {
        assert!(self.failures.is_empty(), "{} failures:\n{}", self.failures.len(), self.failures.join("\n"));
        assert!(self.checks >= at_least, "only {} checks were made", self.checks);
    }
}

fn parse(source: &str) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
    let info = validator.validate(&module).map_err(|error| error.emit_to_string(source))?;
    Ok((module, info))
}

#[test]
fn every_variant_is_translated_for_every_backend() {
    let mut report = Report::default();
    for (name, source) in MODULES {
        let (module, info) = match parse(source) {
            Ok(parsed) => parsed,
            Err(problem) => {
                report.check(|| name.into(), Some(problem));
                continue;
            }
        };
        for variant in 0..1_u32 << FLAGS.len() {
            // Numbers are not combined with each other: the flags alone have 256 variants.
            let numbers = [
                (overrides::WORKGROUP_SIZE, 32 << (variant % 4)),
                (overrides::QUADS_LOG2, variant % 3),
                (overrides::GRID_WIDTH, 7 + variant % 2 * 16_377),
            ];
            let flags = FLAGS.iter().enumerate().map(|(bit, flag)| (*flag, variant >> bit & 1));
            let constants = flags.chain(numbers).map(|(name, value)| (name.to_owned(), f64::from(value)));
            let constants: naga::back::PipelineConstants = constants.collect();
            for (backend, result) in translate(&module, &info, layout::ENTRY_POINT, &constants) {
                report.check(|| format!("{name} {constants:?} for {backend}"), result.err());
            }
        }
    }
    report.finish(2 * 256 * 4);
}

fn translate(
    module: &Module,
    info: &ModuleInfo,
    entry: &str,
    constants: &naga::back::PipelineConstants,
) -> Vec<(&'static str, Result<(), String>)> {
    let entry = Some((ShaderStage::Compute, entry));
    let resolved = naga::back::pipeline_constants::process_overrides(module, info, entry, constants);
    let (module, info) = match resolved {
        Ok(resolved) => resolved,
        Err(error) => return vec![("overrides", Err(error.to_string()))],
    };
    let functions = module.functions.iter().map(|(_, function)| function);
    let functions = functions.chain(module.entry_points.iter().map(|entry| &entry.function));
    let is_override = |(_, expression): (_, &naga::Expression)| matches!(expression, naga::Expression::Override(_));
    let unresolved = functions.flat_map(|function| function.expressions.iter()).filter(|e| is_override(*e)).count();
    let size = module.entry_points.iter().map(|entry| f64::from(entry.workgroup_size[0])).next();
    let overrides = match unresolved {
        0 if size == constants.get(overrides::WORKGROUP_SIZE).copied() => Ok(()),
        _ => Err(format!("{unresolved} overrides are left, workgroups are of {size:?}")),
    };
    let spirv = spv::write_vec(&module, &info, &spv::Options::default(), None).map(drop).map_err(|e| e.to_string());
    let options = msl::Options { fake_missing_bindings: true, ..msl::Options::default() };
    let metal = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default());
    let options = hlsl::Options { fake_missing_bindings: true, ..hlsl::Options::default() };
    let pipeline = hlsl::PipelineOptions { entry_point: None };
    let mut text = String::new();
    let direct = hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None).map(drop);
    vec![
        ("overrides", overrides),
        ("SPIR-V", spirv),
        ("MSL", metal.map(drop).map_err(|error| error.to_string())),
        ("HLSL", direct.map_err(|error| error.to_string())),
    ]
}

/// A struct's members as (name, offset), and its size.
fn members(module: &Module, name: &str) -> Option<(Vec<(String, u32)>, u32)> {
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).ok()?;
    let (handle, ty) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name))?;
    let TypeInner::Struct { members, .. } = &ty.inner else { return None };
    let TypeLayout { size, .. } = layouter[handle];
    Some((members.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset)).collect(), size))
}

macro_rules! host_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        (
            stringify!($name),
            vec![$((stringify!($field).to_owned(), std::mem::offset_of!($name, $field) as u32)),*],
            size_of::<$name>() as u32,
        )
    };
}

// After the macro that it uses.
#[path = "shaders/control.rs"]
mod control;

/// A struct's name, members as (name, offset), and size.
type HostStruct = (&'static str, Vec<(String, u32)>, u32);

fn hyper() -> HostStruct {
    host_struct!(Hyper {
        exp_avg_weight,
        exp_avg_sq_weight,
        step_size,
        denom_eps,
        weight_decay,
        grad_scale,
        clip_value,
        flags,
    })
}

fn frame() -> HostStruct {
    host_struct!(Frame { param, grad, moment, length, first_tile, plane, first_partial })
}

fn tile() -> HostStruct {
    host_struct!(Tile { param, grad, moment, length_hyper })
}

/// A module's bindings as (name, place, kind), sorted.
fn bindings(module: &Module) -> Vec<(String, (u32, u32), &'static str)> {
    let bound = module.global_variables.iter().filter_map(|(_, global)| {
        let place = global.binding.as_ref()?;
        let space = match global.space {
            naga::AddressSpace::Uniform => "uniform",
            naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => {
                "storage, read_write"
            }
            naga::AddressSpace::Storage { .. } => "storage, read",
            _ => "other",
        };
        Some((global.name.clone().unwrap_or_default(), (place.group, place.binding), space))
    });
    let mut bound: Vec<_> = bound.collect();
    bound.sort();
    bound
}

/// A module's overrides as (name, is bool, has a default), sorted.
fn declared_overrides(module: &Module) -> Vec<(String, bool, bool)> {
    let overrides = module.overrides.iter().map(|(_, constant)| {
        let is_bool = matches!(module.types[constant.ty].inner, TypeInner::Scalar(s) if s.kind == ScalarKind::Bool);
        (constant.name.clone().unwrap_or_default(), is_bool, constant.init.is_some())
    });
    let mut overrides: Vec<_> = overrides.collect();
    overrides.sort();
    overrides
}

/// A module's constants of type u32, sorted.
fn constants(module: &Module) -> Vec<(String, u32)> {
    let constants = module.constants.iter().filter_map(|(_, constant)| {
        let Expression::Literal(Literal::U32(value)) = module.global_expressions[constant.init] else { return None };
        Some((constant.name.clone()?, value))
    });
    let mut constants: Vec<_> = constants.collect();
    constants.sort();
    constants
}

#[test]
fn host_and_shaders_agree() {
    let mut report = Report::default();
    let structs = [hyper(), frame(), tile()];
    let places = [
        ("param", binding::PARAM, "storage, read_write"),
        ("grad", binding::GRAD, "storage, read"),
        ("moments", binding::MOMENTS, "storage, read_write"),
        ("tiles", binding::TILES, "storage, read"),
        ("frame", binding::FRAME, "uniform"),
        ("hypers", binding::HYPERS, "uniform"),
    ];
    for (name, source) in MODULES {
        let (module, _) = parse(source).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        for (structure, host, size) in &structs {
            let wgsl = members(&module, structure);
            report.equal(|| format!("{name}: {structure}"), wgsl, Some((host.clone(), *size)));
        }
        let mut host: Vec<(String, (u32, u32), &str)> = places.map(|(name, at, space)| (name.into(), at, space)).into();
        host.sort();
        report.equal(|| format!("{name}: bindings"), bindings(&module), host);
        let flags = FLAGS.iter().map(|flag| ((*flag).to_owned(), true, true));
        let mut host: Vec<(String, bool, bool)> = flags.collect();
        host.extend(NUMBERS.map(|(number, _)| (number.to_owned(), false, true)));
        host.sort();
        report.equal(
            || format!("{name}: overrides as (name, is bool, has a default)"),
            declared_overrides(&module),
            host,
        );
        report.equal(|| format!("{name}: length of hypers"), hypers(&module), Some(layout::HYPERS));
        let entries: Vec<&str> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        report.equal(|| format!("{name}: entry points"), entries, vec![layout::ENTRY_POINT]);
        let mut flags = HYPER_FLAGS.map(|(name, flag)| (name.to_owned(), flag));
        flags.sort();
        report.equal(|| format!("{name}: flags of Hyper"), constants(&module), flags.into());
    }
    let quads_log2 = (layout::TILE_ELEMENTS / 4).ilog2();
    let declared = format!("override TILE_INVOCATIONS_LOG2: u32 = {quads_log2}u - QUADS_LOG2;");
    report.equal(|| "adam.wgsl: TILE_INVOCATIONS_LOG2".into(), ADAM.contains(&declared), true);
    report.finish(2 * 8 + 1);
}

/// shaders/README.md agrees with the shaders.
#[test]
fn the_manual_agrees() {
    const MANUAL: &str = include_str!("../shaders/README.md");
    let mut report = Report::default();
    let (module, _) = parse(MODULES[0].1).unwrap_or_else(|problem| panic!("{problem}"));
    let mut row = |what: &str, begin: String| {
        let problem =
            (!MANUAL.lines().any(|line| line.starts_with(&begin))).then(|| format!("no line begins {begin:?}"));
        report.check(|| what.to_owned(), problem);
    };
    for (name, (group, binding), space) in bindings(&module) {
        row("bindings", format!("| {group} | {binding} | `{name}` | {space}"));
    }
    for flag in FLAGS {
        row("overrides", format!("| `{flag}` | bool | false |"));
    }
    for (number, default) in NUMBERS {
        row(
            "overrides",
            format!("| `{number}` | u32 | {}", default.map_or(String::new(), |number| format!("{number} |"))),
        );
    }
    for (name, flag) in HYPER_FLAGS {
        row("flags", format!("| `{name}` | {flag} |"));
    }
    for name in ["Hyper", "Frame", "Tile"] {
        let (members, size) = members(&module, name).unwrap_or_default();
        let members: Vec<String> = members.into_iter().map(|(name, _)| name).collect();
        row("structs", format!("| `{name}` | {size} | {} (", members.join(", ")));
    }
    report.finish(6 + 8 + 4 + 3 + 3);
}

fn hypers(module: &Module) -> Option<u32> {
    let (_, global) = module.global_variables.iter().find(|(_, global)| global.name.as_deref() == Some("hypers"))?;
    match module.types[global.ty].inner {
        TypeInner::Array { size: naga::ArraySize::Constant(length), .. } => Some(length.get()),
        _ => None,
    }
}
