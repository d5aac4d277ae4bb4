//! `maskfit serve`.

use std::{
    env,
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context as _, anyhow, bail};
use serve::{
    Batching, Control, Level, Limits, LogFormat, Options, Server, Signal, Source, Token,
    log_to_stderr, on_signals,
};

use crate::{End, args::ServeArgs, bundles, output::Verbosity, runs};

/// The variable with the token.
const TOKEN: &str = "MASKFIT_TOKEN";

/// Serves models until Ctrl-C or SIGTERM; what was accepted by then is finished. SIGHUP looks at the bundles.
pub(crate) fn serve(args: &ServeArgs) -> anyhow::Result<End> {
    let models = args.bundles.iter().map(|it| source(it)).collect::<anyhow::Result<Vec<_>>>()?;
    let defaults = Options::new(models);
    let options = Options {
        listen: args.listen.0.clone(),
        token: token(args.token_file.as_deref())?,
        is_public: args.public,
        batching: Batching {
            batch_size: args.batch_size,
            max_wait: Duration::from_millis(args.max_wait),
            queue: args.queue,
            num_workers: args.num_workers.unwrap_or(defaults.batching.num_workers),
        },
        limits: Limits {
            max_body: args.max_body.saturating_mul(1 << 20),
            max_memory: defaults.limits.max_memory.max(args.max_body.saturating_mul(1 << 20)),
            max_pixels: args.max_pixels,
            max_images: args.max_images,
            timeout: Duration::from_secs(args.timeout as u64),
            max_connections: args.max_connections,
        },
        ..defaults
    };
    let _logs = log_to_stderr(format(), level());
    let has_token = options.token.is_some();
    serve::serve(options, |server| {
        heed_signals(server.control());
        greet(&greeting(server, has_token));
    })?;
    Ok(End::Done)
}

/// Returns the text that says what is served, and what is not asked for.
fn greeting(server: &Server, has_token: bool) -> String {
    let mut lines = vec![format!("serving on http://{}", server.address())];
    for (idx, (name, version, n_classes)) in server.models().into_iter().enumerate() {
        let default = if idx == 0 { " (default)" } else { "" };
        lines.push(format!("  {name}{default}: {n_classes} classes, version {version}"));
    }
    match (has_token, server.address().ip().is_loopback()) {
        (true, _) => {}
        (false, true) => lines.push("no token: only this machine can reach it".to_owned()),
        (false, false) => {
            let how = format!("`--token-file`, or {TOKEN}");
            lines.push(format!("no token: whoever reaches it is served ({how})"));
        }
    }
    lines.push("stop it with Ctrl-C".to_owned());
    lines.join("\n")
}

/// Prints the greeting. It is no result: a server serves on where nobody reads it, or the disk is full.
fn greet(text: &str) {
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    // Not through the buffer of stdout, which would keep the text, and fail again at the end.
    drop(stdout.and_then(|mut it| it.write_all(format!("{text}\n").as_bytes())));
}

/// Returns the name and the bundles that an argument names.
fn source(named: &Path) -> anyhow::Result<Source> {
    let text = named.to_str().filter(|_| !named.exists());
    let (name, path) = match text.and_then(|it| it.split_once('=')) {
        Some((name, path)) => (Some(name.to_owned()), PathBuf::from(path)),
        None => (None, named.to_owned()),
    };
    bundles::note_unfinished(std::slice::from_ref(&path))?;
    let dir = runs::find(&path)?;
    let dirs = bundles::dirs(&dir)?;
    Ok(Source { name: name.unwrap_or_else(|| model_name(&dir)), dirs })
}

/// Returns the name of a model: that of its folder, or of its run for the bundle within a run.
fn model_name(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let is_run = |it: &&Path| dir.ends_with("best") && it.join("config.toml").is_file();
    runs::name_of(dir.parent().filter(is_run).unwrap_or(&dir))
}

/// Returns the token of a file, or of the variable, if there is one.
fn token(file: Option<&Path>) -> anyhow::Result<Option<Token>> {
    if let Some(path) = file {
        let token = Token::read(path).map_err(|err| anyhow!("--token-file {err}"))?;
        return Ok(Some(token));
    }
    match env::var_os(TOKEN) {
        None => Ok(None),
        Some(it) if it.is_empty() => Ok(None),
        Some(it) => {
            let Some(text) = it.to_str() else { bail!("{TOKEN}: the token is not text") };
            let token = Token::new(text).map_err(|err| anyhow!("{err}"));
            Ok(Some(token.context(TOKEN)?))
        }
    }
}

/// JSON lines, for whatever collects them; text on a terminal.
fn format() -> LogFormat {
    match io::stderr().is_terminal() {
        false => LogFormat::Json,
        true => {
            let choice = AutoStream::choice(&io::stderr());
            LogFormat::Text { is_coloured: choice != ColorChoice::Never }
        }
    }
}

fn level() -> Level {
    if Verbosity::Verbose.is_on() {
        Level::DEBUG
    } else if Verbosity::Normal.is_on() {
        Level::INFO
    } else {
        Level::WARN
    }
}

/// Installs the handlers of signals: the first Ctrl-C or SIGTERM stops the server, the second ends the program at
/// once; SIGHUP makes it look at its bundles.
fn heed_signals(control: Control) {
    let mut is_stopping = false;
    let handler = move |signal| match signal {
        Signal::Reload => control.reload(),
        Signal::Stop if is_stopping => std::process::exit(i32::from(crate::exit::INTERRUPTED)),
        Signal::Stop => {
            is_stopping = true;
            control.stop();
        }
    };
    // If they cannot be installed, Ctrl-C ends the program.
    drop(on_signals(handler));
}
