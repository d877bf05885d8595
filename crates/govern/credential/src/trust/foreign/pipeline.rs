//! Whose tokens a policy takes.

/// Platforms that run pipelines and sign tokens about their runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipeline {
    /// Bitbucket Pipelines.
    Bitbucket,
    /// `CircleCI`.
    Circleci,
    /// GitHub Actions.
    Github,
    /// GitLab CI/CD.
    Gitlab,
    /// HCP Terraform.
    TerraformCloud,
}

impl Pipeline {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Bitbucket,
        Self::Circleci,
        Self::Github,
        Self::Gitlab,
        Self::TerraformCloud,
    ];

    /// The name in commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bitbucket => "bitbucket",
            Self::Circleci => "circleci",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::TerraformCloud => "terraform-cloud",
        }
    }

    /// Parses the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pipeline| pipeline.as_str() == text)
    }

    /// By the host and path of the issuer, without `https://`.
    #[must_use]
    pub fn of_issuer(issuer: &str) -> Option<Self> {
        let name = issuer
            .strip_prefix("https://")
            .unwrap_or(issuer)
            .trim_end_matches('/');
        let host = name.split('/').next().unwrap_or_default();
        match host {
            "api.bitbucket.org" => Some(Self::Bitbucket),
            "oidc.circleci.com" => Some(Self::Circleci),
            "token.actions.githubusercontent.com" => Some(Self::Github),
            "gitlab.com" => Some(Self::Gitlab),
            "app.terraform.io" => Some(Self::TerraformCloud),
            _ => None,
        }
    }

    /// Whether one customer has an issuer of its own, so that strangers cannot have tokens of it.
    pub(super) const fn is_issuer_per_customer(self) -> bool {
        matches!(self, Self::Bitbucket | Self::Circleci)
    }

    /// Claims that AWS gives to conditions; all when it is not known.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html>
    pub(super) const fn aws_keys(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Bitbucket | Self::TerraformCloud => Some(&["aud", "sub"]),
            Self::Circleci => Some(&["aud", "sub", "oidc.circleci.com/project-id"]),
            Self::Github | Self::Gitlab => None,
        }
    }
}
