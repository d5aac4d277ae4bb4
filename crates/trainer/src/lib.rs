//! Trains a model from an experiment's settings.
//!
//! [`Experiment`] contains the settings; [`Plan`] contains every object that they resolve to; [`fit()`]
//! trains a plan, and [`kfold::kfold`] trains every fold.
//! To add an optimizer or a schedule, write its file, declare it in `optim.rs` or `schedule.rs`, and
//! add a line to the registry there. The zoo tests include it automatically.

mod all_data;
mod amp;
mod average;
mod begin;
mod callback;
mod card_optimizer;
pub mod check;
mod checkpoint;
mod checkpoint_writer;
mod clip;
mod continued;
mod device;
mod dry;
mod engine;
mod error;
mod evaluation;
mod experiment;
mod fit;
mod fold_folders;
mod freeze;
mod groups;
mod keep;
mod kept;
pub mod kfold;
mod layers;
mod learner;
mod loading;
mod log;
mod lr_find;
mod memory;
mod open_device;
mod optim;
mod outcome;
mod parts;
mod phase;
mod places;
mod plan;
mod pretrained;
mod profile;
mod ran_on;
mod record;
mod report;
mod room;
mod rows;
mod run;
mod running_statistics;
mod schedule;
mod scoring;
mod sizes;
mod soup;
mod span;
mod stage_lr;
mod tracking;

pub use all_data::{AllData, AllDataError, Estimate, all_data};
pub use amp::{AmpDtype, AmpSection, LossScale};
pub use average::{AverageConfig, Rule};
pub use callback::{Callback, EpochReport, SampleImage, StepReport};
pub use clip::{Clip, ClipConfig};
pub use continued::{Earlier, EarlierError, FOLDER as PRETRAINED};
pub use device::DeviceSetting;
pub use error::FitError;
pub use evaluation::MainScores;
pub use experiment::{
    AugmentSection, CheckpointSection, DEFAULT, DataSection, EvalSection, Experiment, ModelSection,
    RunSection, TrainSection,
};
pub use fit::fit;
pub use freeze::Freeze;
pub use groups::{GroupsSection, NoDecay, ParamGroups};
pub use keep::keep_earlier;
pub use loading::load_epoch;
pub use lr_find::{Curve, Range, Suggestion, lr_find};
pub use memory::check_memory;
pub use open_device::{check_device, predictor};
pub use optim::{Optim, OptimConfig, Optimizer};
pub use outcome::{Ended, Outcome};
pub use phase::{Moment, PhaseSection, Restore, TrainOn};
pub use plan::{Phase, Plan, PlanError, course_of, divide};
pub use pretrained::PretrainedError;
pub use profile::{Activity, Profile};
pub use ran_on::RanOn;
pub use report::{class_tables, section};
pub use run::{Run, RunError};
pub use schedule::{Rates, Schedule, ScheduleConfig};
pub use scoring::Scoring;
pub use sizes::Size;
pub use soup::{Ingredient, Soup, SoupError, SoupKind, soup, soup_plan};
pub use span::Span;
pub use stage_lr::{StageLr, StageLrConfig};
