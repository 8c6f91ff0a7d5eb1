//! One connection, a socket or a long poll, with the state machine that decides about it.

use std::time::Duration;

use futures_util::SinkExt as _;
use tieline_core::connection_state::Loss;
use tieline_core::connector::Remark;
use tieline_core::event::Event;
use tieline_core::http_types::{ApiAnswer, SocketCall};
use tieline_core::keepalive::{KeepaliveAction, KeepaliveTimer};
use tieline_core::stream::{Effect, Frame, Refusal, StreamSession};
use tieline_core::timestamp::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use super::bot_context::BotContext;
use super::dial::Socket;
use super::inbound_writer::Stored;
use super::poll::{Poll, PollInput};
use super::transport::{ABNORMAL, Input, Transport};

/// Time limit for one write: a longer one means that the other end no longer reads.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Most unacknowledged deliveries of one socket that wait for the queue. At the limit the socket is no longer read (backpressure).
const MOST_PENDING: usize = 256;
/// How often a socket that is not read checks whether there is capacity again.
const ROOM_POLL: Duration = Duration::from_millis(50);
/// Waits longer than this are rounded to a whole second: keepalives of idle connections coincide, and the process sleeps between them.
const COARSE_FROM: Duration = Duration::from_secs(5);
/// Time limit for the first answers of a long poll together.
const POLL_GREETING: Duration = Duration::from_mins(2);
/// Time limit for closing a connection that is unusable.
const ABANDON_WITHIN: Duration = Duration::from_secs(1);

/// Both ends of the channel for outcomes of deliveries: their token, and whether the queue has them.
type Answers = (UnboundedSender<(u64, Stored)>, UnboundedReceiver<(u64, Stored)>);

/// One connection.
pub(super) struct Connection {
    transport: Transport,
    session: Box<dyn StreamSession>,
    pulse: Option<KeepaliveTimer>,
    /// When anything was last received.
    heard_at: Option<Timestamp>,
    /// Deliveries that the queue has not confirmed yet.
    pending: usize,
    /// Receives their outcomes. Only while there are some: a channel takes a kilobyte, which an idle connection does without.
    answers: Option<Answers>,
}

/// What a connection reports to its holder.
#[derive(Debug)]
pub(super) enum ConnectionEvent {
    /// The platform has accepted the connection.
    Up,
    /// The platform has sent an event.
    Delivered,
    /// Outcome of a runner's call.
    Answer(String, ApiAnswer),
    /// A new connection should be opened.
    Replace(&'static str),
    /// This connection is unusable.
    Lost(Loss),
}

impl Connection {
    /// A connection over a socket that was just opened.
    pub(super) fn new(socket: Socket, session: Box<dyn StreamSession>, pulse: Option<KeepaliveTimer>) -> Box<Self> {
        Self::over(Transport::Socket(Box::new(socket), None), session, pulse)
    }

    /// A long poll.
    pub(super) fn polling(poll: Poll, session: Box<dyn StreamSession>) -> Box<Self> {
        Self::over(Transport::Poll(Box::new(poll)), session, None)
    }

    fn over(transport: Transport, session: Box<dyn StreamSession>, pulse: Option<KeepaliveTimer>) -> Box<Self> {
        Box::new(Self {
            transport,
            session,
            pulse,
            heard_at: None,
            pending: 0,
            answers: None,
        })
    }

    /// Time limit for the platform to accept the connection, where that is longer than the bot's patience: a poll's first calls may be held
    /// open by the platform, and each has a limit of its own.
    pub(super) const fn greeting_limit(&self) -> Option<Duration> {
        match &self.transport {
            Transport::Socket(..) => None,
            Transport::Poll(_) => Some(POLL_GREETING),
        }
    }

    /// When the connection counts as silent if nothing is received until then. `None`: its keepalive detects that, or nothing was received yet.
    pub(super) fn doubtful_at(&self, context: &BotContext) -> Option<Timestamp> {
        let silence = context
            .protocol
            .longest_silence()
            .filter(|_| self.transport.is_socket())?;
        Some(self.heard_at?.after(silence))
    }

    /// Greets the platform.
    pub(super) async fn open(&mut self, context: &BotContext) -> Vec<ConnectionEvent> {
        let effects = self.session.on_open(&context.context());
        self.obey(effects, context).await
    }

    /// Waits for the next input. Cancel-safe.
    pub(super) async fn next(&mut self, context: &BotContext) -> Input {
        let may_read = self.pending < MOST_PENDING && context.shared.inbound_writer.has_room();
        let now = context.now();
        let waits_for_room = !may_read && self.wants_to_read();
        match &mut self.transport {
            Transport::Poll(poll) if may_read => poll.begin(context),
            // Calls of a socket's session bring no events, so they need no capacity.
            Transport::Socket(_, Some(poll)) => poll.begin(context),
            _ => {}
        }
        let room = waits_for_room.then(|| now.after(ROOM_POLL));
        let pulse = self.pulse.as_ref().map(KeepaliveTimer::wake_at);
        let wake = self.session.wake_at().into_iter().chain(pulse).chain(room).min();
        let wake = wake.map(|wake| coarse(wake, now));
        tokio::select! {
            input = self.transport.next(may_read, context) => input,
            (token, stored) = answered(&mut self.answers) => Input::Stored(token, stored),
            () = sleep(wake.map_or(Duration::MAX, |wake| wake.since(now))), if wake.is_some() => Input::Time,
        }
    }

    /// Handles an input.
    pub(super) async fn handle(&mut self, input: Input, context: &BotContext) -> Vec<ConnectionEvent> {
        let cx = context.context();
        if matches!(input, Input::Frame(_) | Input::SignOfLife { .. }) {
            self.heard_at = Some(cx.now);
        }
        let effects = match input {
            Input::Frame(frame) => {
                self.alive(cx.now, false);
                self.session.on_frame(frame, &cx)
            }
            Input::SignOfLife { pong } => {
                self.alive(cx.now, pong);
                if !pong {
                    return Vec::new();
                }
                self.session.on_pong(&cx)
            }
            Input::Stored(token, stored) => {
                self.pending = self.pending.saturating_sub(1);
                if self.pending == 0 {
                    self.answers = None;
                }
                match self.stored(stored, context) {
                    Some(events) => return events,
                    None => self.session.on_stored(token, &cx),
                }
            }
            Input::Poll(PollInput::Fetched(Ok(answer))) => self.session.on_fetched(answer, &cx),
            // A socket survives a call that could not be made.
            Input::Poll(PollInput::Fetched(Err(_))) if self.transport.is_socket() => {
                self.session.on_fetched(ApiAnswer::NotSent, &cx)
            }
            Input::Poll(PollInput::Fetched(Err(lost)) | PollInput::Saved(Err(lost))) => {
                return vec![ConnectionEvent::Lost(lost)];
            }
            Input::Poll(PollInput::Saved(Ok(()))) => return Vec::new(),
            Input::Time => {
                if let Some(lost) = self.beat(cx.now).await {
                    return self.lose(lost, context).await;
                }
                match self.session.wake_at() {
                    Some(at) if at <= cx.now => self.session.on_time(&cx),
                    _ => return Vec::new(),
                }
            }
            Input::Closed(code, reason) => {
                let mut effects = self.session.on_closed(code, &reason, &cx);
                if !effects.iter().any(ends) {
                    let code = format!("closed_{code}");
                    effects.push(Effect::Refused(Refusal::Passing {
                        code,
                        retry_after: None,
                    }));
                }
                effects
            }
        };
        self.obey(effects, context).await
    }

    /// How to handle a delivery that the queue doesn't have. `None`: the queue has it.
    fn stored(&self, stored: Stored, context: &BotContext) -> Option<Vec<ConnectionEvent>> {
        let reason = match stored {
            Stored::Yes => return None,
            Stored::Late => "the queue did not accept an event in time; unless the platform sends it again, it is lost",
            Stored::TooLarge => "an event exceeds the queue's size limit, and is lost",
        };
        context.complain("event_not_stored", reason);
        match (&self.transport, stored) {
            // A poll continues past an event that can never be stored, and fetches again what wasn't stored in time.
            (Transport::Poll(_), Stored::TooLarge) => None,
            (Transport::Poll(_), _) => Some(vec![ConnectionEvent::Lost(Loss::passing("event_not_stored"))]),
            (Transport::Socket(..), _) => Some(Vec::new()),
        }
    }

    fn wants_to_read(&self) -> bool {
        match &self.transport {
            Transport::Socket(..) => true,
            Transport::Poll(poll) => poll.is_due(),
        }
    }

    /// Sends a runner's frame.
    pub(super) async fn call(&mut self, call_id: &str, call: SocketCall, context: &BotContext) -> Vec<ConnectionEvent> {
        let effects = self.session.on_call(call_id, call, &context.context());
        self.obey(effects, context).await
    }

    /// Closes the connection gracefully: acknowledges what the queue still accepts, sends the close frame, and reads what is in flight until
    /// the other side has closed too. Not after `until`.
    pub(super) async fn finish(mut self: Box<Self>, until: Instant, context: BotContext) -> Vec<ConnectionEvent> {
        let mut signals = Vec::new();
        if let Transport::Poll(poll) = &mut self.transport
            && let Some(answer) = poll.stop().await
        {
            signals.extend(self.handle(Input::Poll(PollInput::Fetched(answer)), &context).await);
        }
        // Deliveries that are not in the queue by then still get there: only their acknowledgement can't be sent any more.
        let _ = timeout_at(until, self.settle(&context, &mut signals)).await;
        let parting = self.session.on_close(&context.context());
        if let Transport::Poll(poll) = self.transport {
            let call = parting.into_iter().find_map(|effect| match effect {
                Effect::Fetch(call) => Some(call),
                _ => None,
            });
            poll.part(call, &context, until).await;
            return Vec::new();
        }
        signals.extend(self.obey(parting, &context).await);
        let closing = async {
            if self.close_socket(&context).await.is_err() {
                return;
            }
            loop {
                let input = self.next(&context).await;
                let over = matches!(input, Input::Closed(..));
                signals.extend(self.handle(input, &context).await);
                if over {
                    break;
                }
            }
        };
        let _ = timeout_at(until, closing).await;
        if let Transport::Socket(_, Some(poll)) = self.transport {
            poll.part(None, &context, until).await;
        }
        signals.retain(|signal| matches!(signal, ConnectionEvent::Answer(..)));
        signals
    }

    /// Waits until every delivery so far is acknowledged.
    async fn settle(&mut self, context: &BotContext, signals: &mut Vec<ConnectionEvent>) {
        while self.pending > 0 {
            let input = self.next(context).await;
            let over = matches!(input, Input::Closed(..));
            signals.extend(self.handle(input, context).await);
            if over {
                return;
            }
        }
    }

    /// Ends a connection that is unusable: calls in flight are answered.
    pub(super) async fn abandon(mut self: Box<Self>, bot_context: &BotContext) -> Vec<ConnectionEvent> {
        let mut answers = Vec::new();
        for effect in self.session.on_close(&bot_context.context()) {
            match effect {
                Effect::Answer { call_id, answer } => answers.push(ConnectionEvent::Answer(call_id, answer)),
                Effect::SaveCursor(cursor) => self.transport.poll().save(cursor, bot_context),
                _ => {}
            }
        }
        // The other side may be long gone, and the table unavailable.
        let until = Instant::now() + ABANDON_WITHIN;
        let _ = timeout_at(until, self.close_socket(bot_context)).await;
        if let Transport::Socket(_, Some(poll)) | Transport::Poll(poll) = self.transport {
            poll.part(None, bot_context, until).await;
        }
        answers
    }

    async fn close_socket(&mut self, context: &BotContext) -> Result<(), tungstenite::Error> {
        let frame = context.protocol.close_code().map(|code| CloseFrame {
            code: code.into(),
            reason: "".into(),
        });
        match &mut self.transport {
            Transport::Socket(socket, _) => Socket::close(socket, frame).await,
            Transport::Poll(_) => Ok(()),
        }
    }

    fn alive(&mut self, now: Timestamp, pong: bool) {
        if let Some(pulse) = &mut self.pulse {
            if pong { pulse.pong(now) } else { pulse.frame(now) }
        }
    }

    /// Sends the keepalive that is due. Returns the loss if the connection is dead.
    async fn beat(&mut self, now: Timestamp) -> Option<Loss> {
        match self.pulse.as_mut()?.beat(now) {
            KeepaliveAction::Wait => None,
            KeepaliveAction::Dead(why) => Some(Loss::passing(why)),
            KeepaliveAction::Ping => self.write(Message::Ping(Vec::new().into())).await.err(),
        }
    }

    async fn lose(&mut self, lost: Loss, context: &BotContext) -> Vec<ConnectionEvent> {
        let effects = self.session.on_closed(ABNORMAL, "", &context.context());
        let mut signals = self.obey(effects, context).await;
        if !signals.iter().any(|signal| matches!(signal, ConnectionEvent::Lost(_))) {
            signals.push(ConnectionEvent::Lost(lost));
        }
        signals
    }

    async fn obey(&mut self, effects: Vec<Effect>, context: &BotContext) -> Vec<ConnectionEvent> {
        let mut signals = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send(frame) => {
                    if let Err(lost) = self.write(message(frame)).await {
                        signals.push(ConnectionEvent::Lost(lost));
                    }
                }
                Effect::Up => {
                    // A socket that becomes half open from now on must count as silent too.
                    self.heard_at.get_or_insert(context.now());
                    context.learn();
                    signals.push(ConnectionEvent::Up);
                }
                Effect::Heard => {}
                Effect::Deliver {
                    token,
                    events,
                    give_up_at,
                } => {
                    self.deliver(token, events, give_up_at, context);
                    signals.push(ConnectionEvent::Delivered);
                }
                Effect::Fetch(call) => self.transport.poll().fetch(call),
                Effect::Respond(call) => self.transport.poll().respond(call, context),
                Effect::SaveCursor(cursor) => self.transport.poll().save(cursor, context),
                Effect::Remark(remark) => {
                    context.learn();
                    remark_on(remark, context);
                }
                Effect::Answer { call_id, answer } => signals.push(ConnectionEvent::Answer(call_id, answer)),
                Effect::Replace { reason } => signals.push(ConnectionEvent::Replace(reason)),
                Effect::Reconnect { reason, after } => {
                    signals.push(ConnectionEvent::Lost(Loss::Failed(Refusal::Passing {
                        code: reason.to_owned(),
                        retry_after: after,
                    })));
                }
                Effect::Kicked => signals.push(ConnectionEvent::Lost(Loss::Kicked)),
                Effect::Refused(refusal) => {
                    context.heed(&refusal).await;
                    signals.push(ConnectionEvent::Lost(Loss::Failed(refusal)));
                }
            }
        }
        signals
    }

    fn deliver(&mut self, token: u64, events: Vec<Event>, give_up_at: Timestamp, context: &BotContext) {
        self.pending += 1;
        let (answerer, _) = self.answers.get_or_insert_with(unbounded_channel);
        context.deliver(events, give_up_at, answerer.clone(), token);
    }

    async fn write(&mut self, message: Message) -> Result<(), Loss> {
        let Transport::Socket(socket, _) = &mut self.transport else {
            return Err(Loss::passing("not_a_socket"));
        };
        match timeout(WRITE_WITHIN, socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Loss::passing("broken")),
            Err(_) => Err(Loss::passing("write_timeout")),
        }
    }
}

/// The outcome of a delivery. Cancel-safe.
async fn answered(answers: &mut Option<Answers>) -> (u64, Stored) {
    if let Some((_, answers)) = answers
        && let Some(answer) = answers.recv().await
    {
        return answer;
    }
    std::future::pending().await
}

/// Rounds the time `at` of something due to a time that is early enough.
fn coarse(at: Timestamp, now: Timestamp) -> Timestamp {
    if at.since(now) < COARSE_FROM {
        return at;
    }
    Timestamp::from_secs(at.as_millis().div_euclid(1000) + 1)
}

/// Whether an effect decides the end of the connection.
const fn ends(effect: &Effect) -> bool {
    matches!(effect, Effect::Reconnect { .. } | Effect::Kicked | Effect::Refused(_))
}

fn remark_on(remark: Remark, context: &BotContext) {
    if let Remark::Unreadable(reason) = remark {
        context.complain("unreadable", reason);
    }
}

fn message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::Text(text.into()),
        Frame::Binary(bytes) => Message::Binary(bytes.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_waits_are_rounded_to_a_second() {
        let (now, at) = (Timestamp::from_millis(1_500), Timestamp::from_millis);
        assert_eq!(coarse(at(6_499), now), at(6_499));
        assert_eq!(coarse(at(6_500), now), at(7_000));
        assert_eq!(coarse(at(31_500), now), at(32_000));
        assert_eq!(coarse(at(1_000), now), at(1_000));
    }
}
