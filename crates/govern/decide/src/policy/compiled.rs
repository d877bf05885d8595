//! One policy, ready to be evaluated: its condition built once, and what it reads.

use cedar_policy::pst::SmolStr;
use cedar_policy::{Effect, Policy};
use cedar_policy_core::ast::{Expr, Policy as Core, SlotEnv};

use bailiwick_grant::vocabulary::View;
use bailiwick_grant::{Mentions, SchemaError};

/// What a policy reads beyond the three ids of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    /// Members of argument views.
    pub(crate) args: Vec<(View, SmolStr)>,
    /// Views that must be there, if only empty.
    pub(crate) views: Vec<View>,
    /// Views read as a whole.
    pub(crate) whole: Vec<View>,
    /// Other attributes of the context.
    pub(crate) context: Vec<SmolStr>,
    /// Attributes or groups of the principal.
    pub(crate) principal: bool,
    /// Attributes or groups of the resource.
    pub(crate) resource: bool,
}

/// A policy of a tenant or of a grant.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    pub(crate) policy: Policy,
    pub(crate) id: String,
    pub(crate) effect: Effect,
    /// Text of `@hold`, on a permit.
    pub(crate) hold: Option<String>,
    pub(crate) needs: Needs,
    pub(crate) condition: Expr,
    pub(crate) slots: SlotEnv,
}

impl Compiled {
    pub(crate) fn new(policy: Policy) -> Result<Self, SchemaError> {
        let mentions = Mentions::of(&policy)?;
        Ok(Self::with_needs(policy, Needs::from(&mentions)))
    }

    /// For a policy whose context and entities are given whole.
    pub(crate) fn with_needs(policy: Policy, needs: Needs) -> Self {
        let core: &Core = policy.as_ref();
        Self {
            id: policy.id().to_string(),
            effect: policy.effect(),
            hold: policy.annotation("hold").map(str::to_owned),
            needs,
            condition: core.condition(),
            slots: core.env().clone(),
            policy,
        }
    }
}

impl From<&Mentions> for Needs {
    fn from(mentions: &Mentions) -> Self {
        Self {
            args: mentions
                .views
                .iter()
                .flat_map(|(view, args)| args.iter().map(|a| (*view, SmolStr::from(a.as_str()))))
                .collect(),
            views: mentions
                .views
                .keys()
                .copied()
                .chain(mentions.whole.iter().copied())
                .collect(),
            whole: mentions.whole.iter().copied().collect(),
            context: mentions
                .context
                .iter()
                .map(|a| SmolStr::from(a.as_str()))
                .collect(),
            principal: mentions.reads_principal || mentions.reads_other,
            resource: mentions.reads_resource || mentions.reads_other,
        }
    }
}
