//! The task of one bot: opens its connection, keeps it alive, replaces it, and reports its state.

mod calls;
mod report;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tieline_core::connection_state::{ConnectionLifecycle, Kick, Loss};
use tieline_core::http_types::{ApiAnswer, SocketCall};
use tieline_core::timestamp::Timestamp;
use tieline_store::log::Level;
use tieline_store::status::{HandOver, StatusChange};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::bot_context::BotContext;
use super::bot_status::{BotStatus, OwnershipGap};
use super::connect;
use super::connection::{Connection, ConnectionEvent};
use super::shared::Counted;
use super::socket_registry::{BotCommand, End, ReplyTo};
use super::transport::Input;
use crate::world::chance;

/// Time limit for a graceful close.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
/// How long a replaced socket may stay open: its last acknowledgements belong on it.
const RETIRE_WITHIN: Duration = Duration::from_secs(8);
/// A bot with its connection.
pub(super) struct BotTask {
    context: BotContext,
    status: Arc<BotStatus>,
    orders: UnboundedReceiver<Box<BotCommand>>,
    link: ConnectionLifecycle,
    /// The connection in use.
    current: Option<Box<Connection>>,
    /// The connection that is being opened.
    coming: Option<Coming>,
    /// The time without a holder before this process, until its first connection is up.
    ownership_gap: Option<OwnershipGap>,
    /// When a replacement is tried again, and how many attempts have failed.
    replace: Option<(Timestamp, u32)>,
    /// The callers that wait for the outcome of a call, by call id.
    calls: HashMap<String, ReplyTo>,
    /// Calls that wait for a connection.
    waiting: Vec<(String, SocketCall)>,
    counted: Option<Counted>,
    /// Whether the connection is in doubt: silent for longer than its heartbeat allows.
    is_silent: bool,
    /// Code of the latest reported failure, so that each cause is reported once.
    told: Option<String>,
}

/// A connection that is being opened.
struct Coming {
    step: OpeningStep,
    give_up_at: Timestamp,
}

type Opening = Pin<Box<dyn Future<Output = Result<Box<Connection>, Loss>> + Send>>;

enum OpeningStep {
    Opening(Opening),
    Greeting(Box<Connection>),
}

enum Event {
    BotCommand(Option<Box<BotCommand>>),
    Current(Input),
    Opened(Result<Box<Connection>, Loss>),
    Greeting(Input),
    Time,
}

impl BotTask {
    /// A bot without a connection.
    pub(super) fn new(
        context: BotContext,
        status: Arc<BotStatus>,
        orders: UnboundedReceiver<Box<BotCommand>>,
        kick: Option<Kick>,
    ) -> Self {
        status.warm.store(context.two_sockets, Ordering::Relaxed);
        // It was unset: every bot has a [`BotStatus`] of its own.
        let _ = status.platform.set(context.platform());
        let link = ConnectionLifecycle::new(kick, &context.shared.patience, context.now(), chance());
        Self {
            ownership_gap: status.ownership_gap,
            context,
            status,
            orders,
            link,
            current: None,
            coming: None,
            replace: None,
            calls: HashMap::new(),
            waiting: Vec::new(),
            counted: None,
            is_silent: false,
            told: None,
        }
    }

    /// Serves the bot until it is told to end.
    ///
    /// State needed only between two waits is on the heap while it is needed, so an idle bot holds no memory for it.
    pub(super) async fn serve(&mut self) -> End {
        self.report(None, None);
        loop {
            self.begin_if_due();
            let event = self.next().await;
            match event {
                Event::BotCommand(None) => return Box::pin(self.end(End::HandedOver)).await,
                Event::BotCommand(Some(order)) => {
                    if let Some(end) = Box::pin(self.obey(*order)).await {
                        return Box::pin(self.end(end)).await;
                    }
                }
                Event::Current(input) => {
                    let Some(mut line) = self.current.take() else { continue };
                    let signals = Box::pin(line.handle(input, &self.context)).await;
                    self.current = Some(line);
                    self.doubt();
                    Box::pin(self.heed_current(signals)).await;
                }
                // Another relay may hold the bot by now, and our greeting would end its connection. Opening waits until the lease is confirmed to be ours.
                Event::Opened(Ok(_)) if !self.context.shared.lease.is_valid() => {
                    self.coming = Some(self.open(self.context.now()))
                }
                Event::Opened(Ok(mut line)) => {
                    let signals = Box::pin(line.open(&self.context)).await;
                    if let Some(coming) = &mut self.coming {
                        if let Some(limit) = line.greeting_limit() {
                            coming.give_up_at = self.context.now().after(limit);
                        }
                        coming.step = OpeningStep::Greeting(line);
                    }
                    Box::pin(self.heed_coming(signals)).await;
                }
                Event::Opened(Err(loss)) => self.failed(loss),
                Event::Greeting(input) => {
                    let Some(Coming {
                        step: OpeningStep::Greeting(mut line),
                        give_up_at,
                    }) = self.coming.take()
                    else {
                        continue;
                    };
                    let signals = Box::pin(line.handle(input, &self.context)).await;
                    self.coming = Some(Coming {
                        step: OpeningStep::Greeting(line),
                        give_up_at,
                    });
                    Box::pin(self.heed_coming(signals)).await;
                }
                Event::Time => self.look_at_the_clock(),
            }
        }
    }

    /// Waits for the next event. Cancel-safe.
    async fn next(&mut self) -> Event {
        let now = self.context.now();
        let wake = self.wake_at().map(|at| at.since(now));
        let context = &self.context;
        let (current, coming) = (&mut self.current, &mut self.coming);
        tokio::select! {
            order = self.orders.recv() => Event::BotCommand(order),
            input = async { match current { Some(line) => line.next(context).await, None => std::future::pending().await } } => {
                Event::Current(input)
            }
            event = async { match coming {
                Some(Coming { step: OpeningStep::Opening(opening), .. }) => Event::Opened(opening.await),
                Some(Coming { step: OpeningStep::Greeting(line), .. }) => Event::Greeting(Box::pin(line.next(context)).await),
                None => std::future::pending().await,
            } } => event,
            () = sleep(wake.unwrap_or(Duration::MAX)), if wake.is_some() => Event::Time,
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let retry = self
            .link
            .retry_at()
            .filter(|_| self.coming.is_none() && self.current.is_none());
        let replace = self.replace.map(|(at, _)| at).filter(|_| self.coming.is_none());
        let give_up = self.coming.as_ref().map(|coming| coming.give_up_at);
        let waiting = self.waiting.iter().map(|(_, call)| call.expires_at).min();
        let doubt = self.doubtful_at().filter(|_| !self.is_silent);
        [retry, replace, give_up, waiting, doubt].into_iter().flatten().min()
    }

    fn begin_if_due(&mut self) {
        if self.coming.is_some() {
            return;
        }
        let now = self.context.now();
        if self.current.is_none() {
            if self.link.retry_at().is_some_and(|at| at <= now) {
                self.link.begin(&self.context.shared.patience, now);
                self.coming = Some(self.open(now));
                if self.link.failures == 0 {
                    self.report(None, None);
                }
            }
        } else if self.replace.is_some_and(|(at, _)| at <= now) {
            self.coming = Some(self.open(now));
        }
    }

    fn open(&self, now: Timestamp) -> Coming {
        Coming {
            step: OpeningStep::Opening(Box::pin(connect::open(self.context.clone(), self.link.failures))),
            give_up_at: now.after(self.context.shared.patience.greeting),
        }
    }

    fn look_at_the_clock(&mut self) {
        self.doubt();
        let now = self.context.now();
        let (late, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, call)| call.expires_at <= now);
        self.waiting = waiting;
        self.refuse(late);
        if self.coming.as_ref().is_some_and(|coming| coming.give_up_at <= now) {
            self.coming = None;
            self.failed(Loss::passing("greeting_timeout"));
        }
    }

    async fn heed_current(&mut self, signals: Vec<ConnectionEvent>) {
        for signal in signals {
            match signal {
                ConnectionEvent::Up => {}
                ConnectionEvent::Delivered => self.link.delivered(),
                ConnectionEvent::Answer(call_id, answer) => self.answer(&call_id, answer),
                ConnectionEvent::Replace(reason) if self.context.two_sockets => {
                    info!(account.id = %self.id(), reason, "replacing the connection");
                    self.replace.get_or_insert((self.context.now(), 0));
                }
                ConnectionEvent::Replace(reason) => return self.lose_current(Loss::passing(reason)).await,
                ConnectionEvent::Lost(loss) => return self.lose_current(loss).await,
            }
        }
    }

    async fn heed_coming(&mut self, signals: Vec<ConnectionEvent>) {
        for signal in signals {
            match signal {
                ConnectionEvent::Up => self.promote().await,
                ConnectionEvent::Delivered => self.link.delivered(),
                ConnectionEvent::Answer(call_id, answer) => self.answer(&call_id, answer),
                // If it was promoted within this loop, it is the current connection.
                ConnectionEvent::Lost(loss) if self.coming.is_none() => return self.lose_current(loss).await,
                ConnectionEvent::Lost(loss) => {
                    if let Some(Coming {
                        step: OpeningStep::Greeting(line),
                        ..
                    }) = self.coming.take()
                    {
                        let parting = line.abandon(&self.context).await;
                        self.answer_all(parting);
                    }
                    return self.failed(loss);
                }
                ConnectionEvent::Replace(_) => {}
            }
        }
    }

    /// The new connection is up: it becomes the current one.
    async fn promote(&mut self) {
        let Some(Coming {
            step: OpeningStep::Greeting(line),
            ..
        }) = self.coming.take()
        else {
            return;
        };
        self.replace = None;
        self.status.settled.store(true, Ordering::Relaxed);
        let hand_over = self.ownership_gap.take().map(|gap| self.handed_over(gap));
        let old = self.current.replace(line);
        self.is_silent = false;
        if let Some(old) = old {
            let until = Instant::now() + RETIRE_WITHIN;
            tokio::spawn(old.finish(until, self.context.clone()));
            info!(account.id = %self.id(), "replaced the connection");
        } else {
            let tries = self.link.failures;
            self.link.up(self.context.now());
            self.counted = Some(Counted::new(&self.context.shared, |gauges| &gauges.connected));
            info!(platform = self.context.platform(), account.id = %self.id(), attempt = tries + 1, "connected");
            let again = self.told.take().is_some();
            let entry = again.then(|| {
                self.context
                    .entry(Level::Info, "connected", "the connection is up again")
            });
            self.report(hand_over.map(|hand_over| vec![hand_over]), entry);
        }
        self.send_waiting().await;
    }

    /// The bot is connected for the first time since another process held it.
    fn handed_over(&self, gap: OwnershipGap) -> StatusChange {
        let at = self.context.now();
        let disconnected = gap.disconnected_for(at, self.context.two_sockets);
        self.context.shared.world.metrics.hand_over_gap(disconnected);
        StatusChange::LastHandOver(HandOver::new(at, disconnected))
    }

    /// The current connection is lost.
    async fn lose_current(&mut self, loss: Loss) {
        let Some(line) = self.current.take() else { return };
        self.is_silent = false;
        self.counted = None;
        self.context
            .report(vec![StatusChange::LastDisconnectedAt(self.context.now())], None);
        let parting = line.abandon(&self.context).await;
        self.answer_all(parting);
        let replacing = self.coming.is_some() && !matches!(loss, Loss::Kicked);
        if !replacing {
            self.coming = None;
        }
        self.replace = None;
        self.lost(&loss);
        if replacing {
            // The replacement becomes the connection.
            self.link.begin(&self.context.shared.patience, self.context.now());
        }
    }

    /// An attempt to connect failed.
    fn failed(&mut self, loss: Loss) {
        self.coming = None;
        self.status.settled.store(true, Ordering::Relaxed);
        if self.current.is_none() {
            return self.lost(&loss);
        }
        let tries = self.replace.map_or(1, |(_, tries)| tries + 1);
        let wait = self.context.shared.patience.backoff.wait(tries, chance());
        warn!(account.id = %self.id(), error = ?loss, attempt = tries, "connection can't be replaced yet");
        self.replace = Some((self.context.now().after(wait), tries));
    }

    /// Ends gracefully, so that nothing in flight is lost.
    async fn end(&mut self, end: End) -> End {
        self.coming = None;
        let waiting = std::mem::take(&mut self.waiting);
        self.refuse(waiting);
        if let Some(line) = self.current.take() {
            let until = Instant::now() + FINISH_WITHIN;
            let parting = line.finish(until, self.context.clone()).await;
            self.answer_all(parting);
        }
        // After a hand-over the next holder reports the state.
        if end == End::Dropped && self.counted.is_some() {
            self.context
                .report(vec![StatusChange::LastDisconnectedAt(self.context.now())], None);
        }
        self.counted = None;
        for (call_id, to) in self.calls.drain() {
            to.tell(
                &self.context.shared.world.store,
                &self.context.shared.world.clock,
                &call_id,
                ApiAnswer::Unknown,
            );
        }
        // Commands that arrived too late.
        self.orders.close();
        while let Some(order) = self.orders.recv().await {
            if let BotCommand::Call { call_id, to, .. } = *order {
                to.tell(
                    &self.context.shared.world.store,
                    &self.context.shared.world.clock,
                    &call_id,
                    ApiAnswer::NotSent,
                );
            }
        }
        info!(platform = self.context.platform(), account.id = %self.id(), end = ?end, "released the bot");
        end
    }

    fn id(&self) -> &str {
        self.context.bot.account.integration.as_str()
    }
}
