//! Which member of an event's JSON stands where: in the order of `event.md`, and each always there,
//! except `subject`.

use crate::event::{
    Action, Agent, Call, CallEvent, Campaign, Contact, DATA_SCHEMA, Leg, Meeting, Moment, Number,
    Outcome, Sequence,
    json::{Joined, Json, more, object},
    value::AsObject,
};

/// The `data` of an event, which also tells when it was received.
struct Body<'e, 'a>(&'e CallEvent<'a>);

// === impl Json ===

impl Json for CallEvent<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(br#"{"specversion":"1.0""#);
        more!(to,
            "id": self.envelope.id,
            "source": Joined("/sources/", self.envelope.source.as_str()),
            "type": Joined("call.", self.status().as_str()),
        );
        if let Some(subject) = self.subject() {
            more!(to, "subject": subject);
        }
        more!(to,
            "time": self.time(),
            "datacontenttype": "application/json",
            "dataschema": DATA_SCHEMA,
            "data": Body(self),
        );
        to.push(b'}');
    }
}

impl Json for Body<'_, '_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        let data = &self.0.data;
        object!(to,
            "provider": data.provider,
            "received_at": self.0.envelope.received_at,
            "call": data.call,
            "agent": data.agent,
            "contact": data.contact,
            "campaign": data.campaign,
            "sequence": data.sequence,
            "meeting": data.meeting,
            "disposition": data.disposition,
            "notes": data.notes,
            "outcomes": data.outcomes,
            "actions": data.actions,
            "extracted": AsObject(&data.extracted),
            "analysis": AsObject(&data.analysis),
            "extra": AsObject(&data.extra),
            "query": AsObject(&data.query),
            "warnings": data.warnings,
        );
    }
}

impl Json for Call<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to,
            "id": self.id,
            "reference": self.reference,
            "direction": self.direction,
            "from": self.from,
            "to": self.to,
            "via": self.via,
            "status": self.status,
            "status_raw": self.status_raw,
            "final": self.status.is_final(),
            "reason": self.reason,
            "reason_raw": self.reason_raw,
            "answered_by": self.answered_by,
            "queued_at": self.queued_at,
            "scheduled_at": self.scheduled_at,
            "started_at": self.started_at,
            "answered_at": self.answered_at,
            "ended_at": self.ended_at,
            "duration_seconds": self.duration_seconds,
            "billable_seconds": self.billable_seconds,
            "attempts": self.attempts,
            "max_attempts": self.max_attempts,
            "retry_wait_seconds": self.retry_wait_seconds,
            "recording_url": self.recording_url,
            "url": self.url,
            "summary": self.summary,
            "transcript": self.transcript,
            "legs": self.legs,
            "timeline": self.timeline,
        );
    }
}

impl Json for Number<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to, "raw": self.raw, "e164": self.e164, "ext": self.ext);
    }
}

impl Json for Leg<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to,
            "role": self.role,
            "status": self.status,
            "status_raw": self.status_raw,
            "duration_seconds": self.duration_seconds,
        );
    }
}

impl Json for Moment<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to, "at": self.at, "event": self.event, "event_raw": self.event_raw);
    }
}

impl Json for Agent<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to, "id": self.id, "name": self.name, "email": self.email);
    }
}

impl Json for Contact<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to, "name": self.name, "email": self.email);
    }
}

impl Json for Campaign<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to, "id": self.id, "name": self.name);
    }
}

impl Json for Sequence<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to, "id": self.id, "state": self.state);
    }
}

impl Json for Meeting<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to, "start": self.start, "end": self.end, "host": self.host);
    }
}

impl Json for Outcome<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to, "name": self.name, "reason": self.reason);
    }
}

impl Json for Action<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        object!(to,
            "key": self.key,
            "actor": self.actor,
            "status": self.status,
            "completed_at": self.completed_at,
            "description": self.description,
        );
    }
}
