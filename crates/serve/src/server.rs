//! The server: its connections, and how it stops.
//!
//! Connections are served by hyper, because `axum::serve` has no timeout for a request's header, without which a
//! client that sends a byte a second holds a connection for hours.
//!
//! A stop loses nothing that was accepted: connections that wait to be accepted are accepted first; each response
//! then ends its connection; and one without a request stays open for a moment, because its client may be about to
//! send the next one.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{Router, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_io_timeout::TimeoutStream;
use tower_service::Service as _;

use crate::{
    logs::log_start, models::Model, observe::Peer, options::Options, refusals::Refusals,
    reload::reload, routes::routes, server_error::ServeError, state::Shared,
};

/// The longest header of a request; hyper replies 431 to a longer one.
const MAX_HEADER: usize = 64 << 10;

/// How long no connection is accepted after that has failed, because no file can be opened, for example.
const PAUSE: Duration = Duration::from_millis(100);

/// A running server; it stops when this is dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    control: Control,
    thread: Option<JoinHandle<()>>,
}

/// Controls a server from anywhere, such as a signal handler.
#[derive(Clone)]
pub struct Control {
    stop: Arc<watch::Sender<bool>>,
    reload: Arc<Notify>,
}

impl Control {
    /// Makes the server stop: it accepts no more connections, replies to what it has accepted, and ends.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Makes the server look at its bundles now.
    pub fn reload(&self) {
        self.reload.notify_one();
    }
}

/// Serves until the server is stopped.
///
/// - `started`: called as soon as it takes requests.
///
/// # Errors
/// As [`Server::start`].
pub fn serve(options: Options, started: impl FnOnce(&Server)) -> Result<(), ServeError> {
    let server = Server::start(options.clone())?;
    started(&server);
    log_start(server.address, &options, server.shared.models());
    server.wait();
    Ok(())
}

impl Server {
    /// Starts a server; it takes requests when this returns. Every model has predicted an image by then.
    ///
    /// # Errors
    /// Settings that are wrong, an address that cannot be listened on, a bundle that cannot be opened.
    pub fn start(options: Options) -> Result<Server, ServeError> {
        if let Some(problem) = options.problem() {
            return Err(ServeError::Options(problem));
        }
        let at = |source| {
            let addresses = options.listen.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
            ServeError::Listen { addresses: addresses.join(", "), source }
        };
        // Before the models, which take seconds.
        let listener = TcpListener::bind(&options.listen[..]).map_err(at)?;
        listener.set_nonblocking(true).map_err(at)?;
        let address = listener.local_addr().map_err(at)?;
        let shared = Arc::new(Shared::open(&options)?);
        let runtime = Builder::new_multi_thread().thread_name("http").enable_all().build();
        let runtime = runtime.map_err(ServeError::Threads)?;
        let (stop, stopped) = watch::channel(false);
        let control = Control { stop: Arc::new(stop), reload: Arc::default() };
        let (of_thread, asked) = (Arc::clone(&shared), Arc::clone(&control.reload));
        let run = move || run(runtime, listener, of_thread, &options, stopped, asked);
        let thread = thread::Builder::new().name("server".to_owned()).spawn(run);
        let thread = Some(thread.map_err(ServeError::Threads)?);
        Ok(Server { address, shared, control, thread })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name of each model, its version, and the number of its classes.
    pub fn models(&self) -> Vec<(String, String, usize)> {
        let of_model = |model: &Model| {
            let worker = model.worker();
            let about = &worker.about;
            (model.name().to_owned(), about.version.clone(), about.task.n_classes())
        };
        self.shared.models().iter().map(of_model).collect()
    }

    /// Returns what controls it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits until it has stopped.
    pub fn wait(mut self) {
        self.join();
    }

    /// Stops it, and waits until it has replied to everything that it had accepted.
    pub fn stop(self) {
        drop(self);
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic was printed.
            drop(thread.join());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control.stop();
        self.join();
    }
}

/// The thread of the server.
fn run(
    runtime: Runtime,
    listener: TcpListener,
    shared: Arc<Shared>,
    options: &Options,
    stopped: watch::Receiver<bool>,
    asked: Arc<Notify>,
) {
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let reloading = tokio::spawn(reload(Arc::clone(&shared), options.poll, asked));
        accept(listener, &shared, options, stopped).await;
        reloading.abort();
        io::Result::Ok(())
    });
    // A model that is being opened is not waited for.
    runtime.shutdown_background();
    match served {
        Ok(()) => tracing::info!("stopped"),
        Err(err) => tracing::error!("the server has ended: {err}"),
    }
}

/// Accepts connections until the server is stopped, and waits until the last one is closed.
async fn accept(
    listener: tokio::net::TcpListener,
    shared: &Arc<Shared>,
    options: &Options,
    stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(options.limits.max_connections.max(1)));
    let router = routes(Arc::clone(shared));
    let mut connections = JoinSet::new();
    let open = |connections: &mut JoinSet<()>, stream, peer, place| {
        let connection = Connection {
            router: router.clone(),
            peer,
            shared: Arc::clone(shared),
            limit: options.limits.timeout,
            linger: options.linger,
            _place: place,
        };
        connections.spawn(connection.serve(stream, stopped.clone()));
    };
    let mut is_stopped = stopped.clone();
    loop {
        let next = async {
            // Closed never.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            _ = is_stopped.wait_for(|it| *it) => break,
            next = next => next,
        };
        // Those that have ended are forgotten.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => open(&mut connections, stream, peer, place),
            Err(err) => {
                tracing::warn!("a connection could not be accepted: {err}");
                sleep(PAUSE).await;
            }
        }
    }
    // Those that the system has accepted already; asked directly, because tokio may not have heard of them yet.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, peer)) = listener.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                open(&mut connections, stream, peer, None);
            }
        }
    }
    // Only now: a client whose connection ends with its response would connect again.
    shared.stop();
    while connections.try_join_next().is_some() {}
    tracing::info!(connections = connections.len(), "stopping: what was accepted is finished");
    while connections.join_next().await.is_some() {}
}

/// A connection.
struct Connection {
    router: Router,
    peer: SocketAddr,
    shared: Arc<Shared>,
    limit: Duration,
    linger: Duration,
    /// Its place among the allowed number.
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, mut stopped: watch::Receiver<bool>) {
        let open = self.shared.metrics.connections();
        open.inc();
        // Responses are written at once.
        drop(stream.set_nodelay(true));
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limit));
        let (router, peer) = (self.router.clone(), Peer(self.peer));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let mut router = router.clone();
            async move { router.call(request).await as Result<Response, Infallible> }
        });
        let metrics = Arc::clone(&self.shared.metrics);
        let stream = Refusals::new(Box::pin(stream), self.peer, metrics);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limit)
            .max_buf_size(MAX_HEADER)
            // A client that has sent its request and closed its side still gets the response.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let linger = async {
            // An error means that the server is gone.
            drop(stopped.wait_for(|it| *it).await);
            sleep(self.linger).await;
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = linger => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(err) = ended {
            tracing::debug!(peer = %self.peer, "a connection has ended: {err}");
        }
        open.dec();
    }
}
