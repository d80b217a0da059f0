//! Gradient control: gradients that are clipped, unscaled and counted, and steps that are skipped, all decided on the
//! GPU.

mod corrections;
mod counts;
mod gradients;
mod histories;
mod norms;
mod order;
mod overflow;
mod rejoining;
mod resuming;
mod rig;
mod scale_buffer;
mod scaler;
mod statistics;

use crate::{Body, body};

pub const BODIES: &[(&str, Body)] = &[
    body!("control/norms that torch computed", gpu => norms::recorded(gpu)),
    body!("control/norms of any size", gpu => norms::extremes(gpu)),
    body!("control/norms of many elements", gpu => norms::many(gpu)),
    body!("control/100 repeats give the same bits", gpu => order::repeats(gpu)),
    body!("control/ten steps in one encoder equal ten submits", gpu => order::ten_steps(gpu)),
    body!("control/scales that change in one encoder", gpu => order::scales(gpu)),
    body!("control/surplus workgroups of folded grids", gpu => order::surplus(gpu)),
    body!("control/small limits", gpu => order::small_limits(gpu)),
    body!("control/NaN and infinity anywhere skip the step", gpu => overflow::anywhere(gpu)),
    body!("control/what is no overflow", gpu => overflow::none(gpu)),
    body!("control/an overflow without skipping", gpu => overflow::unskipped(gpu)),
    body!("control/found_inf from outside", gpu => overflow::told(gpu)),
    body!("control/GradScaler", gpu => scaler::recorded(gpu)),
    body!("control/GradScaler, many steps in an encoder", gpu => scaler::in_batches(gpu)),
    body!("control/loss scale bound as a uniform", gpu => scale_buffer::backward(gpu, "uniform")),
    body!("control/loss scale bound as storage", gpu => scale_buffer::backward(gpu, "storage, read")),
    body!("control/bias corrections to 10^7 steps", gpu => corrections::on_the_device(gpu)),
    body!("control/late steps", gpu => corrections::late_steps(gpu)),
    body!("control/histories that differ", gpu => histories::differ(gpu)),
    body!("control/skipping given up", gpu => histories::given_up(gpu)),
    body!("control/changes between steps", gpu => histories::changes(gpu)),
    body!("control/tensors and state that change", gpu => histories::surgery(gpu)),
    body!("control/a replaced tensor has its history", gpu => histories::replaced(gpu)),
    body!("control/state reset by an encoder that is dropped", gpu => histories::dropped_reset(gpu)),
    body!("control/more groups than invocations", gpu => histories::many_groups(gpu)),
    body!("control/the smallest eps", gpu => histories::smallest_eps(gpu)),
    body!("control/tensors without elements", gpu => histories::empty(gpu)),
    body!("control/neighbours rejoin", gpu => rejoining::neighbours(gpu)),
    body!("control/neighbours rejoin behind dropped encoders", gpu => rejoining::dropped(gpu)),
    body!("control/tensors that part and rejoin at random", gpu => rejoining::random(gpu)),
    body!("control/counts that outgrow their buffer", gpu => counts::outgrown(gpu)),
    body!("control/counts asked for again when there are more", gpu => counts::asked_again(gpu)),
    body!("control/a reset before counts are moved", gpu => counts::reset_before_moved(gpu)),
    body!("control/a loss scale in state dicts", gpu => resuming::dicts(gpu)),
    body!("control/a loss scale in a dict is of the moment of the call", gpu => resuming::moment(gpu)),
    body!("control/a loss scale in checkpoints", gpu => resuming::files(gpu)),
    body!("control/a loss scale that has backed off to nothing", gpu => resuming::exhausted(gpu)),
    body!("control/accumulated and scaled", gpu => gradients::accumulated(gpu)),
    body!("control/clipped by value", gpu => gradients::by_value(gpu)),
    body!("control/zeroed after the step", gpu => gradients::zeroed(gpu)),
    body!("control/statistics", gpu => statistics::told(gpu)),
    body!("control/statistics that nobody reads", gpu => statistics::unread(gpu)),
    body!("control/counts past 32 bits", gpu => statistics::past_32_bits(gpu)),
    body!("control/no control", gpu => statistics::none(gpu)),
];
