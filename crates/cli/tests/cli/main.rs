//! Tests of the program as a process: arguments in; output, files and exit code out.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failure")]

mod attributes;
mod bench;
mod config;
mod continued;
mod conventions;
mod device;
mod eda;
mod ensemble;
mod evaluate;
mod exit_codes;
mod explain;
mod export;
mod files;
mod guides;
mod init;
mod json;
mod kfold;
mod output;
mod phases;
mod predict;
mod pseudo;
mod rates;
mod recipes;
mod refused;
mod renamed;
mod report;
mod runs;
mod runs_table;
mod schema;
mod serve;
mod shell;
mod soup;
mod speed;
mod submit;
mod weights;
mod width;
