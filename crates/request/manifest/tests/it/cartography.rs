//! The public API fixtures of `data/cartography` and the nodes that its tests expect of them.
//!
//! Mapping reads the fixtures alone; what is expected is read afterwards and only compared. The tables below say which
//! fixture is an answer of which source, and which label of the graph is which of our types; they name no value of any
//! fixture. Where an answer does not repeat what was asked for (the organisation, the project), the table gives the
//! parameter with which the fixture's own test asks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use bailiwick_inventory::observation::Observation;
use bailiwick_manifest::{Given, Mapped, Scan};
use bailiwick_vectors as vectors;
use serde_json::Value;

/// How a fixture stands for answers. What an SDK made of them is taken back first: names of members, classes.
#[derive(Clone, Copy)]
enum Form {
    /// A page, or a list of pages, or a list of items: what an export may be too.
    Export,
    /// The first of a list; what follows is no part of the answer.
    First,
    /// An object of answers, by the parameter with which each was asked for.
    By(&'static str),
}
use Form::{By, Export, First};

struct Fixture {
    module: &'static str,
    name: &'static str,
    platform: &'static str,
    source: &'static str,
    form: Form,
    given: &'static [(&'static str, &'static str)],
}

const fn fixture(
    module: &'static str,
    name: &'static str,
    platform: &'static str,
    source: &'static str,
    form: Form,
    given: &'static [(&'static str, &'static str)],
) -> Fixture {
    Fixture {
        module,
        name,
        platform,
        source,
        form,
        given,
    }
}

const ORG: &[(&str, &str)] = &[("organization", "simpsoncorp")];
const REPO: &[(&str, &str)] = &[("organization", "simpsoncorp"), ("repository", "sample_repo")];
const PRODUCTION: &[(&str, &str)] = &[
    ("organization", "simpsoncorp"),
    ("repository", "sample_repo"),
    ("environment", "production"),
];
const STAGING: &[(&str, &str)] = &[
    ("organization", "simpsoncorp"),
    ("repository", "sample_repo"),
    ("environment", "staging"),
];
const CLUSTER_1: &[(&str, &str)] = &[("cluster", "my-cluster-1")];
const CLUSTER_2: &[(&str, &str)] = &[("cluster", "my-cluster-2")];

const FIXTURES: &[Fixture] = &[
    fixture(
        "anthropic.apikeys",
        "ANTHROPIC_APIKEYS",
        "anthropic",
        "api-keys",
        Export,
        &[],
    ),
    fixture(
        "anthropic.users",
        "ANTHROPIC_USERS",
        "anthropic",
        "users",
        Export,
        &[],
    ),
    fixture(
        "aws.apigateway",
        "GET_CERTIFICATES",
        "aws",
        "client-certificates",
        Export,
        &[],
    ),
    fixture("aws.iam", "LIST_ROLES", "aws", "roles", Export, &[]),
    fixture(
        "aws.iam",
        "LIST_SAML_PROVIDERS",
        "aws",
        "saml-issuers",
        Export,
        &[],
    ),
    fixture("aws.iam", "LIST_USERS", "aws", "users", Export, &[]),
    fixture(
        "aws.iam.access_keys",
        "GET_ACCOUNT_ACCESS_KEY_DATA",
        "aws",
        "access-keys",
        Export,
        &[],
    ),
    fixture(
        "aws.iam.access_keys",
        "GET_USER_ACCESS_KEYS_DATA",
        "aws",
        "access-keys",
        By("user"),
        &[],
    ),
    fixture(
        "aws.iam.instance_profiles",
        "INSTANCE_PROFILES",
        "aws",
        "instance-profiles",
        Export,
        &[],
    ),
    fixture(
        "aws.iam.role_policies",
        "ANOTHER_GET_ROLE_LIST_DATASET",
        "aws",
        "roles",
        Export,
        &[],
    ),
    fixture("aws.iam.roles", "ROLES", "aws", "roles", Export, &[]),
    fixture(
        "aws.iam.user_policies",
        "GET_ROLE_LIST_DATA",
        "aws",
        "roles",
        Export,
        &[],
    ),
    fixture(
        "aws.identitycenter",
        "LIST_USERS",
        "aws",
        "sso-users",
        Export,
        &[],
    ),
    fixture(
        "aws.organizations",
        "TEST_ORGANIZATION_ACCOUNTS",
        "aws",
        "accounts",
        Export,
        &[],
    ),
    fixture(
        "aws.secretsmanager",
        "LIST_SECRETS",
        "aws",
        "secrets",
        Export,
        &[],
    ),
    fixture(
        "azure.key_vaults",
        "MOCK_CERTIFICATES",
        "azure",
        "vault-certificates",
        Export,
        &[],
    ),
    fixture(
        "azure.key_vaults",
        "MOCK_SECRETS",
        "azure",
        "vault-secrets",
        Export,
        &[],
    ),
    fixture(
        "azure.rbac",
        "AZURE_ROLE_ASSIGNMENTS",
        "azure",
        "role-assignments",
        Export,
        &[],
    ),
    fixture(
        "gcp.apikeys",
        "LIST_API_KEYS_RESPONSE",
        "gcp",
        "api-keys",
        Export,
        &[],
    ),
    fixture("gcp.cloud_sql", "MOCK_USERS", "gcp", "sql-users", Export, &[]),
    fixture("gcp.cloudrun", "MOCK_JOBS", "gcp", "run-jobs", Export, &[]),
    fixture(
        "gcp.cloudrun",
        "MOCK_SERVICES",
        "gcp",
        "run-services",
        Export,
        &[],
    ),
    fixture(
        "gcp.iam",
        "CAI_SERVICE_ACCOUNTS_RESPONSE",
        "gcp",
        "asset-service-accounts",
        Export,
        &[],
    ),
    fixture(
        "gcp.iam",
        "LIST_SERVICE_ACCOUNTS_RESPONSE",
        "gcp",
        "service-accounts",
        Export,
        &[],
    ),
    fixture(
        "gcp.iam",
        "LIST_SERVICE_ACCOUNT_KEYS_RESPONSE",
        "gcp",
        "service-account-keys",
        Export,
        &[],
    ),
    fixture(
        "gcp.policy_bindings",
        "MOCK_IAM_SERVICE_ACCOUNTS",
        "gcp",
        "service-accounts",
        Export,
        &[],
    ),
    fixture(
        "gcp.secretsmanager",
        "LIST_SECRETS_RESPONSE",
        "gcp",
        "secrets",
        Export,
        &[],
    ),
    fixture(
        "gcp.workload_identity",
        "LIST_WORKLOAD_IDENTITY_PROVIDERS_RESPONSE",
        "gcp",
        "workload-identity-issuers",
        By("pool"),
        &[],
    ),
    fixture(
        "github.actions",
        "GET_ENV_SECRETS_PRODUCTION",
        "github",
        "environment-secrets",
        Export,
        PRODUCTION,
    ),
    fixture(
        "github.actions",
        "GET_ENV_SECRETS_STAGING",
        "github",
        "environment-secrets",
        Export,
        STAGING,
    ),
    fixture(
        "github.actions",
        "GET_ORG_SECRETS",
        "github",
        "organization-secrets",
        Export,
        ORG,
    ),
    fixture(
        "github.actions",
        "GET_REPO_SECRETS",
        "github",
        "repository-secrets",
        Export,
        REPO,
    ),
    fixture(
        "github.personal_access_tokens",
        "FINE_GRAINED_PERSONAL_ACCESS_TOKENS",
        "github",
        "fine-grained-tokens",
        Export,
        ORG,
    ),
    fixture(
        "github.personal_access_tokens",
        "SAML_CREDENTIAL_AUTHORIZATIONS",
        "github",
        "credential-authorizations",
        Export,
        ORG,
    ),
    fixture(
        "github.users",
        "GITHUB_ENTERPRISE_OWNER_DATA",
        "github",
        "enterprise-owners",
        First,
        ORG,
    ),
    fixture(
        "github.users",
        "GITHUB_USER_DATA",
        "github",
        "members",
        First,
        ORG,
    ),
    fixture(
        "googleworkspace.api",
        "MOCK_GOOGLEWORKSPACE_OAUTH_TOKENS_BY_USER",
        "googleworkspace",
        "user-tokens",
        By("user"),
        &[],
    ),
    fixture(
        "googleworkspace.api",
        "MOCK_GOOGLEWORKSPACE_USERS_RESPONSE",
        "googleworkspace",
        "users",
        Export,
        &[],
    ),
    fixture(
        "gsuite.api",
        "MOCK_GSUITE_USERS_RESPONSE",
        "googleworkspace",
        "users",
        Export,
        &[],
    ),
    fixture(
        "kubernetes.rbac",
        "KUBERNETES_CLUSTER_1_CLUSTER_ROLE_BINDINGS_RAW",
        "kubernetes",
        "cluster-role-bindings",
        Export,
        CLUSTER_1,
    ),
    fixture(
        "kubernetes.rbac",
        "KUBERNETES_CLUSTER_1_ROLE_BINDINGS_RAW",
        "kubernetes",
        "role-bindings",
        Export,
        CLUSTER_1,
    ),
    fixture(
        "kubernetes.rbac",
        "KUBERNETES_CLUSTER_1_SERVICE_ACCOUNTS_RAW",
        "kubernetes",
        "service-accounts",
        Export,
        CLUSTER_1,
    ),
    fixture(
        "kubernetes.rbac",
        "KUBERNETES_CLUSTER_2_CLUSTER_ROLE_BINDINGS_RAW",
        "kubernetes",
        "cluster-role-bindings",
        Export,
        CLUSTER_2,
    ),
    fixture(
        "kubernetes.rbac",
        "KUBERNETES_CLUSTER_2_ROLE_BINDINGS_RAW",
        "kubernetes",
        "role-bindings",
        Export,
        CLUSTER_2,
    ),
    fixture(
        "kubernetes.rbac",
        "KUBERNETES_CLUSTER_2_SERVICE_ACCOUNTS_RAW",
        "kubernetes",
        "service-accounts",
        Export,
        CLUSTER_2,
    ),
    fixture(
        "microsoft.entra.applications",
        "MOCK_APP_ROLE_ASSIGNMENTS",
        "microsoft",
        "app-role-assignments",
        Export,
        &[],
    ),
    fixture(
        "microsoft.entra.applications",
        "MOCK_ENTRA_APPLICATIONS",
        "microsoft",
        "applications",
        Export,
        &[],
    ),
    fixture(
        "microsoft.entra.applications",
        "MOCK_SERVICE_PRINCIPALS",
        "microsoft",
        "service-principals",
        Export,
        &[],
    ),
    fixture(
        "microsoft.entra.directory_roles",
        "MOCK_ROLE_ASSIGNMENTS",
        "microsoft",
        "directory-roles",
        Export,
        &[],
    ),
    fixture(
        "microsoft.entra.users",
        "MOCK_ENTRA_USERS",
        "microsoft",
        "users",
        Export,
        &[],
    ),
    fixture(
        "okta.groups",
        "GROUP_MEMBERS_SAMPLE_DATA",
        "okta",
        "group-members",
        Export,
        &[],
    ),
    fixture(
        "openai.adminapikeys",
        "OPENAI_ADMINAPIKEYS",
        "openai",
        "admin-api-keys",
        Export,
        &[],
    ),
    fixture(
        "openai.apikeys",
        "OPENAI_APIKEYS",
        "openai",
        "project-api-keys",
        Export,
        &[],
    ),
    fixture(
        "openai.serviceaccounts",
        "OPENAI_SERVICEACCOUNTS",
        "openai",
        "service-accounts",
        Export,
        &[],
    ),
    fixture("openai.users", "OPENAI_USERS", "openai", "users", Export, &[]),
    fixture("slack.users", "SLACK_USERS", "slack", "users", Export, &[]),
];

/// Where an attribute of a node stands in an observation.
#[derive(Clone, Copy)]
enum At {
    Id,
    Name,
    Attribute(&'static str),
    /// `false` where the platform shows nothing.
    Flag(&'static str),
}
use At::{Attribute, Flag, Id, Name};

struct Label {
    label: &'static str,
    platform: &'static str,
    types: &'static [&'static str],
    attributes: &'static [(&'static str, At)],
}

const fn label(
    label: &'static str,
    platform: &'static str,
    types: &'static [&'static str],
    attributes: &'static [(&'static str, At)],
) -> Label {
    Label {
        label,
        platform,
        types,
        attributes,
    }
}

/// The labels that are an identity or a credential.
const LABELS: &[Label] = &[
    label(
        "AWSAPIGatewayClientCertificate",
        "aws",
        &["client-certificate"],
        &[("id", Id)],
    ),
    label(
        "AWSAccountAccessKey",
        "aws",
        &["access-key"],
        &[("accesskeyid", Id), ("id", Id)],
    ),
    label(
        "AWSInstanceProfile",
        "aws",
        &["instance-profile"],
        &[("id", Id), ("instance_profile_name", Name)],
    ),
    label("AWSRootPrincipal", "aws", &["root"], &[("arn", Id)]),
    label("AWSSAMLProvider", "aws", &["saml-issuer"], &[("arn", Id)]),
    label(
        "AWSSSOUser",
        "aws",
        &["sso-user"],
        &[("id", Id), ("external_id", Attribute("external_id"))],
    ),
    label(
        "AWSSecretsManagerSecret",
        "aws",
        &["secret"],
        &[
            ("arn", Id),
            ("name", Name),
            ("rotation_enabled", Attribute("rotates")),
            ("kms_key_id", Attribute("key")),
            ("region", Attribute("region")),
        ],
    ),
    label(
        "AnthropicApiKey",
        "anthropic",
        &["api-key"],
        &[("id", Id), ("name", Name)],
    ),
    label(
        "AnthropicUser",
        "anthropic",
        &["user"],
        &[("id", Id), ("email", Attribute("email"))],
    ),
    label(
        "AzureKeyVaultCertificate",
        "azure",
        &["vault-certificate"],
        &[("id", Id), ("name", Name)],
    ),
    label(
        "AzureKeyVaultSecret",
        "azure",
        &["vault-secret"],
        &[("id", Id), ("name", Name)],
    ),
    label(
        "GCPApiKey",
        "gcp",
        &["api-key"],
        &[
            ("id", Id),
            ("display_name", Name),
            ("restricted", Attribute("restricted")),
        ],
    ),
    label("GCPCloudRunJob", "gcp", &["run-job"], &[("id", Id)]),
    label(
        "GCPCloudRunService",
        "gcp",
        &["run-service"],
        &[("id", Id), ("ingress", Attribute("ingress"))],
    ),
    label("GCPCloudSQLUser", "gcp", &["sql-user"], &[("id", Id)]),
    label(
        "GCPSecretManagerSecret",
        "gcp",
        &["secret"],
        &[
            ("id", Id),
            ("name", Name),
            ("replication_type", Attribute("replication")),
            ("rotation_enabled", Attribute("rotates")),
        ],
    ),
    label("GCPServiceAccount", "gcp", &["service-account"], &[("id", Id)]),
    label(
        "GCPServiceAccountKey",
        "gcp",
        &["service-account-key"],
        &[
            ("id", Id),
            ("key_type", Attribute("key_type")),
            ("valid_after_time", Attribute("valid_after")),
        ],
    ),
    label(
        "GCPWorkloadIdentityProvider",
        "gcp",
        &["workload-identity-issuer"],
        &[("id", Id), ("protocol", Attribute("protocol"))],
    ),
    label(
        "GitHubActionsSecret",
        "github",
        &["actions-secret"],
        &[
            ("id", Id),
            ("name", Name),
            ("level", Attribute("level")),
            ("visibility", Attribute("visibility")),
        ],
    ),
    label(
        "GitHubClassicPersonalAccessToken",
        "github",
        &["classic-token"],
        &[("id", Id)],
    ),
    label(
        "GitHubFineGrainedPersonalAccessToken",
        "github",
        &["fine-grained-token"],
        &[("id", Id)],
    ),
    label(
        "GitHubPersonalAccessToken",
        "github",
        &["classic-token", "fine-grained-token"],
        &[
            ("id", Id),
            ("token_kind", Attribute("token_kind")),
            ("token_name", Name),
            ("owner_login", Attribute("owner_login")),
        ],
    ),
    label(
        "GitHubUser",
        "github",
        &["user"],
        &[
            ("id", Id),
            ("is_enterprise_owner", Flag("is_enterprise_owner")),
            ("has_2fa_enabled", Attribute("has_two_factor")),
        ],
    ),
    label(
        "GoogleWorkspaceOAuthApp",
        "googleworkspace",
        &["oauth-app"],
        &[("client_id", Id), ("display_text", Name)],
    ),
    label(
        "GoogleWorkspaceUser",
        "googleworkspace",
        &["user"],
        &[("id", Id), ("primary_email", Attribute("email")), ("name", Name)],
    ),
    label(
        "KubernetesSecret",
        "kubernetes",
        &["secret", "service-account-token"],
        &[("name", Name)],
    ),
    label(
        "OktaApplication",
        "okta",
        &["application"],
        &[("id", Id), ("name", Attribute("name")), ("label", Name)],
    ),
    label(
        "OktaUser",
        "okta",
        &["user"],
        &[
            ("id", Id),
            ("first_name", Attribute("first_name")),
            ("last_name", Attribute("last_name")),
            ("email", Attribute("email")),
        ],
    ),
    label(
        "OpenAIAdminApiKey",
        "openai",
        &["admin-api-key"],
        &[("id", Id), ("name", Name)],
    ),
    label(
        "OpenAIApiKey",
        "openai",
        &["project-api-key"],
        &[("id", Id), ("name", Name)],
    ),
    label(
        "OpenAIServiceAccount",
        "openai",
        &["service-account"],
        &[("id", Id), ("name", Name)],
    ),
    label(
        "OpenAIUser",
        "openai",
        &["user"],
        &[("id", Id), ("email", Attribute("email"))],
    ),
    label("SlackBot", "slack", &["bot"], &[("id", Id), ("name", Name)]),
    label(
        "SlackUser",
        "slack",
        &["bot", "slackbot", "user"],
        &[("id", Id), ("email", Attribute("email"))],
    ),
];

/// Labels whose name could mean an identity or a credential and that are none, with the reason.
const OTHER_LABELS: &[(&str, &str)] = &[
    (
        "AWSACMCertificate",
        "proves a web site to its visitors; nobody signs in with it",
    ),
    ("AWSCognitoIdentityPool", "a place for identities"),
    ("AWSCognitoUserPool", "a place for identities"),
    ("AWSECRImageLayer", "part of an image"),
    ("AWSEKSAccessEntry", "a grant"),
    ("AWSEfsAccessPoint", "a way to a file system"),
    ("AWSIdentityCenter", "the instance, not its users"),
    ("AWSKMSGrant", "a grant"),
    ("AWSKMSKey", "encrypts; nobody signs in with it"),
    ("AWSPermissionSet", "a list of permissions"),
    ("AWSSESEmailIdentity", "an address that may send mail"),
    ("AWSSSOGroup", "a list of members"),
    (
        "AWSSecretsManagerSecretVersion",
        "a state of a secret that is counted already",
    ),
    (
        "AzureAppService",
        "a resource; its managed identity is the identity",
    ),
    (
        "AzureFunctionApp",
        "a resource; its managed identity is the identity",
    ),
    ("AzureCosmosDBCassandraKeyspace", "a part of a database"),
    ("AzureKeyVault", "a place for secrets"),
    ("AzureKeyVaultKey", "encrypts; nobody signs in with it"),
    (
        "AzureLogicApp",
        "a resource; its managed identity is the identity",
    ),
    ("AzureServerADAdministrator", "a grant: who administers a server"),
    ("GCPBigtableAppProfile", "routes requests"),
    ("GCPCryptoKey", "encrypts; nobody signs in with it"),
    ("GCPKeyRing", "a place for keys"),
    ("GCPNicAccessConfig", "an address of a machine"),
    ("GCPPolicyBinding", "a grant"),
    ("GCPRole", "a list of permissions"),
    (
        "GCPSecretManagerSecretVersion",
        "a state of a secret that is counted already",
    ),
    ("GCPWorkloadIdentityPool", "a place for trusted issuers"),
    ("GoogleWorkspaceGroup", "a list of members"),
    (
        "IdentityProvider",
        "a second label of GCPWorkloadIdentityProvider",
    ),
    ("IpPermissionInbound", "a rule of a firewall"),
    ("OktaAdministrationRole", "a list of permissions"),
    ("OktaUserFactor", "a second factor of a person"),
    ("SlackGroup", "a list of members"),
    ("ThirdPartyApp", "a second label of SlackBot"),
    ("UserAccount", "a second label of SlackUser"),
];

/// Expectations that are not of the answers alone, by the test that has them, with the reason.
const OTHER_TESTS: &[(&str, &str)] = &[
    (
        "test_load_openai_adminapikeys",
        "asks for the keys of people only; the test beside it asks for all",
    ),
    (
        "test_sync_secretsmanager_no_versions",
        "feeds the first of the secrets only",
    ),
    (
        "test_sync_skips_provider_cleanup_on_partial_failure",
        "places nodes that no answer holds",
    ),
];

/// Tests of which the set could not tell the modules that they read, and the module that is named like them.
const MODULES: &[(&str, &str)] = &[("slack/test_users.py", "slack.users")];

fn lines(file: &str) -> Option<Vec<Value>> {
    let folder = vectors::public("cartography")?;
    let mut text = String::new();
    let file = std::fs::File::open(folder.join(file)).unwrap();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

/// What an SDK object was on the wire: members in camel case, no class, what it did not know beside the rest.
fn on_the_wire(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(on_the_wire).collect(),
        Value::Object(members) if members.contains_key("__class__") => {
            let mut wire = serde_json::Map::new();
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("__class__", _) => {}
                    ("odata_type", value) => {
                        wire.insert("@odata.type".to_owned(), value.clone());
                    }
                    ("additional_data", Value::Object(more)) => wire.extend(more.clone()),
                    (name, value) => {
                        wire.insert(camel(name), on_the_wire(value));
                    }
                }
            }
            Value::Object(wire)
        }
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), on_the_wire(value)))
            .collect(),
        value => value.clone(),
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut wire = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        wire.push_str(&first.to_uppercase());
        wire.push_str(rest);
    }
    wire
}

/// The fixture as an export has it: answers with the parameters that each was asked with.
fn answers(fixture: &Fixture, value: &Value) -> Vec<(Given, Value)> {
    let value = on_the_wire(value);
    let given = super::given(fixture.given);
    match (fixture.form, value) {
        (Export, value) => vec![(given, value)],
        (First, Value::Array(list)) => vec![(given, list[0].clone())],
        (By(parameter), Value::Object(answers)) => answers
            .into_iter()
            .map(|(asked, answer)| {
                let mut given = given.clone();
                given.insert(parameter.to_owned(), asked);
                (given, answer)
            })
            .collect(),
        _ => panic!("{} {} is of another form", fixture.module, fixture.name),
    }
}

/// Everything that was seen in the fixtures, by module.
fn observed(fixtures: &[Value]) -> BTreeMap<(&'static str, &'static str), Vec<Observation>> {
    let manifests: BTreeMap<_, _> = super::manifests().into_iter().collect();
    let mut scans: BTreeMap<(&str, &str), Scan<'_>> = BTreeMap::new();
    for fixture in FIXTURES {
        let found = fixtures
            .iter()
            .find(|line| line["module"] == fixture.module && line["name"] == fixture.name);
        let found = found.unwrap_or_else(|| panic!("no fixture {} {}", fixture.module, fixture.name));
        let key = (fixture.platform, fixture.module);
        let scan = scans
            .entry(key)
            .or_insert_with(|| Scan::new(&manifests[fixture.platform], Given::new()));
        for (given, answer) in answers(fixture, &found["value"]) {
            let document = serde_json::json!({"given": given, "answer": answer});
            let file = format!("{}/{}.json", fixture.source, fixture.name);
            scan.add(&file, document.to_string().as_bytes());
        }
    }
    for ((_, module), scan) in &scans {
        assert!(scan.unknown().is_empty(), "{module}: {:?}", scan.unknown());
        for (source, _, read) in scan.sources() {
            assert!(read.broken.is_empty(), "{module} {source}: {:?}", read.broken);
            assert!(read.unmapped.is_empty(), "{module} {source}: {:?}", read.unmapped);
        }
    }
    scans
        .into_iter()
        .map(|(key, scan)| (key, scan.observations().to_vec()))
        .collect()
}

fn shown(observation: &Observation, at: At) -> Option<String> {
    match at {
        Id => Some(observation.id.as_str().to_owned()),
        Name => observation.name.as_ref().map(|name| name.as_str().to_owned()),
        Attribute(name) => observation.attribute(name).map(str::to_owned),
        Flag(name) => Some(observation.attribute(name).unwrap_or("false").to_owned()),
    }
}

fn wanted(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

#[derive(Default)]
struct Score {
    found: usize,
    expected: usize,
    observed: usize,
    unreached: usize,
}

type Nodes = BTreeSet<Vec<Option<String>>>;

/// What was expected and not found, attribute by attribute where the thing itself was seen.
fn tell_missed(row: &Value, expected: &Nodes, seen: &Nodes) {
    let (label, file) = (&row["args"][0], &row["file"]);
    let names = row["args"][1].as_array().unwrap();
    for missed in expected.difference(seen) {
        // The first attribute is the id: of a thing that was seen, tell what differs.
        let near = seen.iter().find(|seen| seen[0] == missed[0]);
        let differing: Vec<String> = near.map_or_else(Vec::new, |near| {
            let pairs = names.iter().zip(missed.iter().zip(near));
            let pairs = pairs.filter(|(_, (wanted, seen))| wanted != seen);
            pairs
                .map(|(name, (wanted, seen))| format!("{name}: {wanted:?}, seen {seen:?}"))
                .collect()
        });
        println!("  missed: {label} {file} {missed:?} {}", differing.join("; "));
    }
}

/// One expectation against what was seen in the modules that its test reads.
fn compare(
    row: &Value,
    label: &Label,
    observed: &BTreeMap<(&'static str, &'static str), Vec<Observation>>,
    score: &mut Score,
) {
    let file = row["file"].as_str().unwrap();
    let mut modules: BTreeSet<&str> = row["data_modules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m.as_str().unwrap())
        .collect();
    modules.extend(
        MODULES
            .iter()
            .filter(|(named, _)| *named == file)
            .map(|(_, module)| *module),
    );
    let places: Vec<At> = row["args"][1]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| {
            let found = label.attributes.iter().find(|(known, _)| name == known);
            found
                .unwrap_or_else(|| panic!("{} {name} has no place", label.label))
                .1
        })
        .collect();
    let seen = observed
        .iter()
        .filter(|((platform, module), _)| *platform == label.platform && modules.contains(module))
        .flat_map(|(_, seen)| seen)
        .filter(|seen| label.types.contains(&seen.type_name.as_str()));
    let seen: Nodes = seen
        .map(|seen| places.iter().map(|at| shown(seen, *at)).collect())
        .collect();
    let expected: Nodes = row["expected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node.as_array().unwrap().iter().map(wanted).collect())
        .collect();
    let is_reached = FIXTURES.iter().any(|fixture| {
        fixture.platform == label.platform && modules.contains(fixture.module) && !seen.is_empty()
    });
    if !is_reached {
        println!(
            "  not reached: {} in {file}: its answers are not in the set",
            label.label
        );
        score.unreached += expected.len();
        return;
    }
    score.expected += expected.len();
    score.observed += seen.len();
    score.found += expected.intersection(&seen).count();
    tell_missed(row, &expected, &seen);
    for more in seen.difference(&expected) {
        println!(
            "  not expected: {} {file} {} {:?}",
            label.label, row["args"][1], more
        );
    }
}

#[test]
fn the_fixtures_become_the_nodes_that_are_expected() {
    let (Some(fixtures), Some(rows)) = (lines("fixtures.jsonl.gz"), lines("expected.jsonl.gz")) else {
        return;
    };
    vectors::report("cartography fixtures", fixtures.len(), 771);
    vectors::report("cartography expected", rows.len(), 1_334);
    let observed = observed(&fixtures);
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["kind"] == "nodes") {
        let name = row["args"][0].as_str().unwrap();
        let Some(label) = LABELS.iter().find(|label| label.label == name) else {
            continue;
        };
        let is_other = OTHER_TESTS.iter().any(|(test, _)| row["test"] == *test);
        // An empty expectation is of what the test did before, not of an answer.
        if is_other || row["expected"].as_array().unwrap().is_empty() {
            continue;
        }
        compare(row, label, &observed, scores.entry(label.platform).or_default());
    }
    println!("provider: recall, precision (found / expected / observed), not in the set");
    for (provider, score) in &scores {
        if score.expected == 0 {
            println!(
                "{provider}: nothing is reached, {} are not in the set",
                score.unreached
            );
            continue;
        }
        let share = |of: usize| {
            if of == 0 {
                1.0
            } else {
                score.found as f64 / of as f64
            }
        };
        let (recall, precision) = (share(score.expected), share(score.observed));
        println!(
            "{provider}: {recall:.3}, {precision:.3} ({} / {} / {}), {}",
            score.found, score.expected, score.observed, score.unreached
        );
        assert!(
            recall >= 0.95 && precision >= 0.95,
            "{provider}: {recall:.3}, {precision:.3}"
        );
    }
    let reached = scores.iter().filter(|(_, score)| score.expected > 0);
    let reached: Vec<&str> = reached.map(|(provider, _)| *provider).collect();
    assert_eq!(
        reached,
        [
            "anthropic",
            "aws",
            "azure",
            "gcp",
            "github",
            "googleworkspace",
            "okta",
            "openai",
            "slack"
        ]
    );
}

#[test]
fn every_label_that_could_be_an_identity_was_judged() {
    const WORDS: [&str; 19] = [
        "Access",
        "Admin",
        "App",
        "Bot",
        "Certificate",
        "Cred",
        "Grant",
        "Identity",
        "Key",
        "OAuth",
        "Permission",
        "PolicyBinding",
        "Principal",
        "Profile",
        "Provider",
        "Role",
        "Secret",
        "ServiceAccount",
        "Token",
    ];
    let Some(rows) = lines("expected.jsonl.gz") else {
        return;
    };
    let labels: BTreeSet<&str> = rows
        .iter()
        .filter(|row| row["kind"] == "nodes")
        .map(|row| row["args"][0].as_str().unwrap())
        .collect();
    for label in &labels {
        let is_judged = LABELS.iter().any(|known| known.label == *label)
            || OTHER_LABELS.iter().any(|(known, _)| known == label);
        let could_be = label.contains("User") || WORDS.iter().any(|word| label.contains(word));
        // What an application gateway and its parts are is plain from the name.
        let is_network = label.starts_with("AzureApplicationGateway") || label.contains("PublicAccessBlock");
        assert!(
            is_judged || is_network || !could_be,
            "{label} is in neither table"
        );
    }
    for (label, _) in OTHER_LABELS {
        assert!(labels.contains(label), "{label} is expected nowhere");
    }
}

#[test]
fn mapping_the_same_twice_is_the_same() {
    let manifest = super::manifest("aws");
    let page =
        serde_json::json!({"Users": [{"Arn": "arn:aws:iam::1:user/a", "UserName": "a"}, {"Path": "/"}]});
    let map = || -> Mapped { manifest.map("users", &page, &Given::new()).unwrap() };
    let (one, two) = (map(), map());
    assert_eq!(one.observations, two.observations);
    assert_eq!(one.unmapped, two.unmapped);
    assert_eq!((one.items, one.unmapped.len()), (2, 1));
    assert_eq!(one.unmapped[0].place, "1");
    assert_eq!(one.unmapped[0].text, "iam-user: the id is missing");
}
