//! Runs random programs on the first adapter (or the one that `WGPU_ADAM_ADAPTER` matches) and compares with a plain
//! float64 model. A failing program is shrunk and printed as a script.

use std::cell::OnceCell;

use pollster::block_on;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use wgpu_adam_suite::Gpu;
use wgpu_adam_suite::adapter::{adapters, matches, select};
use wgpu_adam_suite::program::{Change, How, Line, Program, run};

/// Number of programs, unless WGPU_ADAM_PROGRAMS sets another.
const PROGRAMS: u32 = 200;

fn programs() -> u32 {
    std::env::var("WGPU_ADAM_PROGRAMS")
        .ok()
        .map_or(PROGRAMS, |programs| programs.parse().expect("a number of programs"))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        prop::sample::select(vec![0.0, 1e-4, 0.01, 0.1]).prop_map(Change::Lr),
        prop::sample::select(vec![(0.9, 0.999), (0.0, 0.9), (0.5, 0.5), (0.95, 0.99)])
            .prop_map(|(beta1, beta2)| Change::Betas(beta1, beta2)),
        prop::sample::select(vec![1e-8, 1e-3]).prop_map(Change::Eps),
        prop::sample::select(vec![0.0, 0.01, 0.1]).prop_map(Change::WeightDecay),
        any::<bool>().prop_map(Change::Amsgrad),
        any::<bool>().prop_map(Change::Maximize),
        any::<bool>().prop_map(Change::Decoupled),
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1_u64..9, 3 => 60_u64..70, 2 => 250_u64..260, 1 => Just(0_u64), 1 => 1000_u64..3000]
}

fn line() -> impl Strategy<Value = Line> {
    let lengths = prop::collection::vec(length(), 0..5);
    let how = prop::sample::select(vec![How::Keep, How::Clear, How::From]);
    prop_oneof![
        3 => (lengths, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(lengths, arena, amsgrad, decoupled)| Line::AddGroup { lengths, arena, amsgrad, decoupled }),
        2 => (prop::collection::vec(length(), 1..5), any::<bool>())
            .prop_map(|(lengths, all)| Line::AddParts { lengths, all }),
        2 => (any::<usize>(), length()).prop_map(|(group, length)| Line::AddParam(group, length)),
        8 => (1_u32..4).prop_map(Line::Step),
        1 => Just(Line::StepOnZeros),
        1 => any::<bool>().prop_map(Line::Skipping),
        1 => any::<bool>().prop_map(Line::Clipping),
        1 => Just(Line::RefusedControl),
        2 => any::<usize>().prop_map(Line::Overflow),
        2 => any::<usize>().prop_map(Line::DropGrad),
        2 => any::<usize>().prop_map(Line::GiveGrad),
        5 => (any::<usize>(), change()).prop_map(|(group, change)| Line::Set(group, change)),
        2 => Just(Line::Save),
        2 => Just(Line::Load),
        1 => Just(Line::LoadPrefixed),
        2 => Just(Line::LoadPartial),
        1 => Just(Line::Defragment),
        1 => any::<usize>().prop_map(Line::RemoveGroup),
        2 => (any::<usize>(), length(), how).prop_map(|(tensor, length, how)| Line::Replace { tensor, length, how }),
        1 => any::<usize>().prop_map(Line::Remove),
        1 => any::<usize>().prop_map(Line::Reset),
    ]
}

/// A step of some of the tensors 1 to 3, taken or skipped; or a change of one of them.
fn round() -> impl Strategy<Value = Vec<Line>> {
    let step = (0_u32..8, prop::bool::weighted(0.4), any::<usize>()).prop_map(|(present, overflows, which)| {
        let give = |tensor: usize| match present >> (tensor - 1) & 1 {
            1 => Line::GiveGrad(tensor),
            _ => Line::DropGrad(tensor),
        };
        let step = if overflows { Line::Overflow(which) } else { Line::Step(1) };
        (1..=3).map(give).chain([step]).collect()
    });
    let how = prop::sample::select(vec![How::Keep, How::Clear, How::From]);
    let replace = (1_usize..4, how).prop_map(|(tensor, how)| vec![Line::Replace { tensor, length: 7, how }]);
    prop_oneof![
        12 => step,
        4 => replace,
        1 => (1_usize..4).prop_map(|tensor| vec![Line::Reset(tensor)]),
        1 => Just(vec![Line::Save]),
        1 => Just(vec![Line::Load]),
    ]
}

/// Tensors of one group that miss steps because of overflows and missing gradients, so that only the device knows their
/// counts.
fn skipping() -> impl Strategy<Value = Program> {
    prop::collection::vec(round(), 4..12).prop_map(|rounds| {
        let three = Line::AddGroup { lengths: vec![5, 64, 3], arena: true, amsgrad: false, decoupled: false };
        Program([three, Line::Skipping(true)].into_iter().chain(rounds.into_iter().flatten()).collect())
    })
}

#[test]
fn random_programs_agree_with_float64() {
    agree(programs(), prop::collection::vec(line(), 1..25).prop_map(Program));
}

#[test]
fn random_programs_that_skip_agree_with_float64() {
    agree(programs() / 2, skipping());
}

fn agree(cases: u32, strategy: impl Strategy<Value = Program>) {
    let mut found = block_on(adapters());
    if let Ok(wanted) = std::env::var("WGPU_ADAM_ADAPTER") {
        found.retain(|adapter| matches(&adapter.get_info(), &wanted));
    }
    found.truncate(1);
    let adapter = select(found, None).expect("an adapter to test on");
    let gpu = OnceCell::new();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |program| {
        let gpu = gpu.get_or_init(|| block_on(Gpu::default_limits(&adapter)).expect("a device"));
        block_on(run(gpu, &program)).map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
