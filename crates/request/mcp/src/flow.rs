//! One permitted call on its way: messages of the upstream server go to the caller in the caller's words, a kill
//! or a caller who leaves ends it on both sides.

use std::collections::VecDeque;
use std::sync::Arc;

use bailiwick_base::Digest;
use bailiwick_decide::DenyReason;
use bailiwick_pep::{Denial, Outcome, Permit, Watch};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use crate::answer;
use crate::bridge::ask::{AskRefusal, require_askable, require_askable_inputs};
use crate::bridge::results;
use crate::bridge::rounds::{self, Parked};
use crate::error::UpstreamError;
use crate::filter;
use crate::frame::{self, CallId};
use crate::gateway::{Gateway, Inbound, Refused};
use crate::method::{self, Era, Verb};
use crate::params::Params;
use crate::session::InFlight;
use crate::upstream::Upstream;
use crate::upstream::exchange::{Ask, Exchange, Notice, Reply, Step};

/// Rounds of questions within one call of a session.
const ROUNDS_MAX: u32 = 16;

/// One call in flight.
pub(crate) struct Flow {
    gateway: Arc<Gateway>,
    /// Without its message once that is sent, as far as nothing needs it any more.
    inbound: Inbound,
    /// Who called what, where the caller may be asked something and call again.
    binding: Option<Digest>,
    upstream: Arc<Upstream>,
    /// Present until the call ended.
    permit: Option<Permit>,
    exchange: Option<Exchange>,
    /// What the server sent first, read together with the sending.
    first: Option<Result<Step, UpstreamError>>,
    server_era: Era,
    outbox: VecDeque<Bytes>,
    waiting: Option<Waiting>,
    rounds: u32,
    give_up: Option<(InFlight, oneshot::Receiver<()>)>,
}

/// Questions of a stateless server that the session is asked now.
struct Waiting {
    state: Option<String>,
    open: VecDeque<(String, oneshot::Receiver<Bytes>)>,
    answers: Map<String, Value>,
}

/// A call that was sent.
pub(crate) struct Sent {
    pub(crate) exchange: Exchange,
    pub(crate) era: Era,
    /// What came first.
    pub(crate) first: Result<Step, UpstreamError>,
}

/// What comes next to the caller.
pub(crate) enum FlowStep {
    /// The answer; nothing comes after it.
    End(Reply),
    /// A message before the answer.
    Message(Bytes),
    /// The caller gave up: nothing more comes.
    Silent,
}

/// What happened next.
enum Next {
    Answered(Option<Bytes>),
    GaveUp,
    Stopped(DenyReason),
    Upstream(Result<Step, UpstreamError>),
}

impl Flow {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        mut inbound: Inbound,
        upstream: Arc<Upstream>,
        permit: Permit,
        sent: Sent,
    ) -> Self {
        let asks = method::may_ask(inbound.verb);
        let parkable = asks && inbound.session.is_none() && sent.era == Era::Legacy;
        let binding = parkable.then(|| rounds::binding_of(&inbound));
        inbound.body = Bytes::new();
        // Only a session is called for again, when a stateless server asks it something.
        if !asks || inbound.session.is_none() || sent.era == Era::Legacy {
            inbound.params.let_go();
        }
        Self {
            gateway,
            inbound,
            binding,
            upstream,
            permit: Some(permit),
            exchange: Some(sent.exchange),
            first: Some(sent.first),
            server_era: sent.era,
            outbox: VecDeque::new(),
            waiting: None,
            rounds: 0,
            give_up: None,
        }
    }

    /// Ends when the session's caller cancels.
    pub(crate) fn ending_with(mut self, in_flight: InFlight, told: oneshot::Receiver<()>) -> Self {
        self.give_up = Some((in_flight, told));
        self
    }

    /// For whoever ends it from outside; nothing once it ended.
    pub(crate) fn watch(&self) -> Option<Watch> {
        self.permit.as_ref().map(Permit::watch)
    }

    pub(crate) fn accepts_events(&self) -> bool {
        self.inbound.accepts_events
    }

    /// The next thing for the caller. By value, so that a keep-alive never interrupts a read.
    pub(crate) async fn advance(mut self) -> (FlowStep, Self) {
        loop {
            if let Some(text) = self.outbox.pop_front() {
                return (FlowStep::Message(text), self);
            }
            let step = match self.next().await {
                Next::Answered(answer) => self.take_answer(answer).await,
                Next::GaveUp => {
                    self.close(Outcome::Cancelled);
                    Some(FlowStep::Silent)
                }
                Next::Stopped(reason) => Some(self.stopped(reason)),
                Next::Upstream(Ok(step)) => self.take_step(step).await,
                Next::Upstream(Err(e)) => Some(self.failed(&e)),
            };
            if let Some(step) = step {
                return (step, self);
            }
        }
    }

    async fn next(&mut self) -> Next {
        if let Some(first) = self.first.take() {
            return Next::Upstream(first);
        }
        let Self {
            permit,
            exchange,
            waiting,
            give_up,
            ..
        } = self;
        let stopped = async {
            match permit.as_ref() {
                Some(permit) => permit.revoked().await,
                None => std::future::pending().await,
            }
        };
        let gave_up = async {
            match give_up {
                // A dropped sender is the end of the session.
                Some((_, told)) => drop(told.await),
                None => std::future::pending().await,
            }
        };
        let arrives = async {
            match (
                waiting.as_mut().and_then(|w| w.open.front_mut()),
                exchange.as_mut(),
            ) {
                (Some((_, answer)), _) => Next::Answered(answer.await.ok()),
                (None, Some(exchange)) => Next::Upstream(exchange.next().await),
                (None, None) => Next::Upstream(Err(UpstreamError::Closed)),
            }
        };
        tokio::select! {
            biased;
            reason = stopped => Next::Stopped(reason),
            () = gave_up => Next::GaveUp,
            next = arrives => next,
        }
    }

    fn close(&mut self, outcome: Outcome) {
        self.exchange = None;
        self.give_up = None;
        if let Some(permit) = self.permit.take() {
            permit.finish(outcome);
        }
    }

    fn stopped(&mut self, reason: DenyReason) -> FlowStep {
        let decision = self.permit.as_ref().map(|p| p.decision().id.clone());
        self.close(Outcome::Cancelled);
        let text = match decision {
            Some(decision) => {
                let text = "the call was stopped while it ran".to_owned();
                answer::denied(
                    &self.inbound.id,
                    &Denial {
                        reason,
                        text,
                        decision,
                    },
                )
            }
            None => answer::failed(&self.inbound.id, &UpstreamError::Closed),
        };
        FlowStep::End(Reply::own(text))
    }

    fn failed(&mut self, failure: &UpstreamError) -> FlowStep {
        metrics::counter!("bailiwick_upstream_failures_total", "code" => failure.code()).increment(1);
        self.close(Outcome::Failed);
        if matches!(failure, UpstreamError::NotMcp(_) | UpstreamError::Unsupported) {
            // It may have become another server; the next call asks it again what it is.
            self.upstream.forget_peer();
        }
        let text = answer::failed(&self.inbound.id, failure);
        FlowStep::End(Reply::own(text))
    }

    async fn take_step(&mut self, step: Step) -> Option<FlowStep> {
        match step {
            Step::Notice(notice) => self.take_notice(&notice),
            Step::Ask(ask) => self.take_ask(ask).await,
            Step::Done(reply) => self.take_reply(reply).await,
        }
    }

    fn take_notice(&mut self, notice: &Notice) -> Option<FlowStep> {
        if notice.method == "notifications/tools/list_changed" {
            self.upstream.forget_catalog();
        }
        let passes = match (self.inbound.era, notice.method.as_str()) {
            (_, "notifications/progress") => self.inbound.params.progress_token().is_some(),
            (Era::Modern, "notifications/message") => self.inbound.log_level.is_some(),
            (Era::Modern, _) => self.inbound.verb == Verb::Listen,
            (Era::Legacy, _) => true,
        };
        passes.then(|| FlowStep::Message(notice.text.clone()))
    }

    async fn take_reply(&mut self, reply: Reply) -> Option<FlowStep> {
        if let Some(result) = reply.result.as_ref().filter(|_| self.server_era == Era::Modern)
            && results::asks_for_input(result)
        {
            let members: Map<String, Value> = serde_json::from_slice(result).unwrap_or_default();
            return self.take_input_required(reply, &members);
        }
        let ttl = self.gateway.config.answer_ttl_max;
        match results::to_caller(&self.inbound, self.server_era, reply, ttl) {
            Ok(mut reply) => {
                reply.streamed &= self.inbound.era == self.server_era;
                if self.inbound.verb == Verb::List {
                    reply = match filter::usable_only(&self.gateway, &self.inbound, reply).await {
                        Ok(reply) => reply,
                        Err(e) => return Some(self.failed(&e)),
                    };
                }
                self.close(Outcome::Returned);
                Some(FlowStep::End(reply))
            }
            Err(e) => Some(self.failed(&e)),
        }
    }

    /// A stateless server wants input: the caller is asked, if what it is asked is fit to be asked.
    fn take_input_required(&mut self, reply: Reply, result: &Map<String, Value>) -> Option<FlowStep> {
        let judged = if method::may_ask(self.inbound.verb) {
            require_askable_inputs(result, &self.inbound.client().capabilities, self.upstream.host())
        } else {
            Err(AskRefusal::NotOffered)
        };
        if let Err(refusal) = judged {
            return Some(self.refused_question(refusal));
        }
        if self.inbound.era == Era::Modern {
            self.close(Outcome::Returned);
            return Some(FlowStep::End(Reply { status: 200, ..reply }));
        }
        self.rounds += 1;
        let inputs = result
            .get("inputRequests")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        if self.rounds > ROUNDS_MAX {
            return Some(self.failed(&UpstreamError::NotMcp("it asks without end")));
        }
        let state = result
            .get("requestState")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let mut waiting = Waiting {
            state,
            open: VecDeque::new(),
            answers: Map::new(),
        };
        for (key, input) in inputs {
            let expected = self.inbound.session.as_ref().and_then(|s| s.expect_local());
            let Some((id, answer)) = expected else {
                return Some(self.refused_question(AskRefusal::NotOffered));
            };
            let method = input.get("method").and_then(Value::as_str).unwrap_or_default();
            let params = input.get("params").map(ToString::to_string);
            self.outbox.push_back(frame::write(
                Some(&id),
                method,
                params.as_deref().map(str::as_bytes),
            ));
            waiting.open.push_back((key, answer));
        }
        self.exchange = None;
        self.waiting = Some(waiting);
        None
    }

    /// The answer to a question arrived; after the last one the call goes on.
    async fn take_answer(&mut self, answer: Option<Bytes>) -> Option<FlowStep> {
        let waiting = self.waiting.as_mut()?;
        let (key, _) = waiting.open.pop_front()?;
        let body = answer.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        match body.and_then(|mut body| body.get_mut("result").map(Value::take)) {
            Some(result) => {
                waiting.answers.insert(key, result);
            }
            None => return Some(self.refused_question(AskRefusal::NotOffered)),
        }
        if !waiting.open.is_empty() {
            return None;
        }
        let waiting = self.waiting.take()?;
        self.go_on(waiting).await
    }

    /// Calls again with the answers: a call of its own, decided and recorded like the first.
    async fn go_on(&mut self, waiting: Waiting) -> Option<FlowStep> {
        let mut add = vec![(
            "inputResponses",
            Bytes::from(Value::Object(waiting.answers).to_string()),
        )];
        if let Some(state) = waiting.state {
            add.push(("requestState", Bytes::from(Value::String(state).to_string())));
        }
        let meta = self.inbound.params.meta().cloned().unwrap_or_default();
        let raw = self
            .inbound
            .params
            .rewritten(&meta, &["inputResponses", "requestState"], &add);
        let Ok(params) = Params::parse(Some(raw)) else {
            return Some(self.failed(&UpstreamError::NotMcp("its questions cannot be answered")));
        };
        let inbound = Inbound {
            params,
            ..self.inbound.clone()
        };
        let permit = match self.gateway.permit_inbound(&inbound).await {
            Ok(permit) => permit,
            Err(refused) => return Some(self.refused(refused)),
        };
        let sent = self.gateway.forward(&permit, &self.upstream, &inbound).await;
        if let Some(before) = self.permit.replace(permit) {
            before.finish(Outcome::Returned);
        }
        match sent {
            Ok((exchange, era)) => {
                self.exchange = Some(exchange);
                self.server_era = era;
                None
            }
            Err(e) => Some(self.failed(&e)),
        }
    }

    fn refused(&mut self, refused: Refused) -> FlowStep {
        self.close(Outcome::Cancelled);
        let text = match refused {
            Refused::Denied(denial) => answer::denied(&self.inbound.id, &denial),
            Refused::NoEntropy => answer::failed(&self.inbound.id, &UpstreamError::Busy),
        };
        FlowStep::End(Reply::own(text))
    }

    fn refused_question(&mut self, refusal: AskRefusal) -> FlowStep {
        self.close(Outcome::Cancelled);
        let data = json!({"code": "upstream.question-refused", "reason": refusal.text()});
        let message = "the upstream server asked what this caller may not be asked";
        let text = answer::error(Some(&self.inbound.id), answer::DENIED, message, Some(data));
        FlowStep::End(Reply::own(text))
    }

    /// A legacy server asks something while the call is open.
    async fn take_ask(&mut self, ask: Ask) -> Option<FlowStep> {
        if self.server_era == Era::Modern {
            return Some(self.failed(&UpstreamError::NotMcp("a call in the wrong direction")));
        }
        if ask.method == "ping" {
            return self.answer_upstream(answer::result(&ask.id, &json!({}))).await;
        }
        let params: Value = serde_json::from_slice(&ask.params).unwrap_or_default();
        let judged = require_askable(
            &ask.method,
            &params,
            &self.inbound.client().capabilities,
            self.upstream.host(),
        );
        if let Err(refusal) = judged {
            return self.refuse_upstream(&ask.id, refusal).await;
        }
        match &self.inbound.session {
            Some(session) => {
                if !session.expect_upstream(&ask.id) {
                    return self.refuse_upstream(&ask.id, AskRefusal::NotOffered).await;
                }
                Some(FlowStep::Message(frame::write(
                    Some(&ask.id),
                    &ask.method,
                    Some(&ask.params),
                )))
            }
            None if method::may_ask(self.inbound.verb) => self.park(ask),
            None => self.refuse_upstream(&ask.id, AskRefusal::NotOffered).await,
        }
    }

    /// The call waits inside while the stateless caller asks its user.
    fn park(&mut self, ask: Ask) -> Option<FlowStep> {
        let (exchange, permit) = (self.exchange.take()?, self.permit.take()?);
        let binding = self.binding?;
        let question = ask.clone();
        let state = self.gateway.rounds.park(
            binding,
            permit,
            Parked { exchange, ask },
            self.gateway.entropy.as_ref(),
            self.gateway.making.spawner.as_ref(),
            self.gateway.config.round_ttl,
        );
        let Some(state) = state else {
            return Some(self.failed(&UpstreamError::Busy));
        };
        let text = answer::result(&self.inbound.id, &rounds::question(&question, &state));
        Some(FlowStep::End(Reply::own(text)))
    }

    async fn refuse_upstream(&mut self, id: &CallId, refusal: AskRefusal) -> Option<FlowStep> {
        let code = match refusal {
            AskRefusal::NotOffered => answer::METHOD_NOT_FOUND,
            AskRefusal::AsksForSecret | AskRefusal::ForeignAddress => answer::INVALID_PARAMS,
        };
        self.answer_upstream(answer::error(Some(id), code, refusal.text(), None))
            .await
    }

    async fn answer_upstream(&mut self, text: Bytes) -> Option<FlowStep> {
        let sent = match &mut self.exchange {
            Some(exchange) => exchange.answer(text).await,
            None => Err(UpstreamError::Closed),
        };
        sent.err().map(|e| self.failed(&e))
    }
}
