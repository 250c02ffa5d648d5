use super::plain::CONTAINER;
use super::*;
use crate::routes;

fn caller(tenant: &str, groups: &[&str]) -> Caller {
    Caller {
        identity: format!("casemate://{tenant}/anna"),
        tenant: tenant.parse().expect("a tenant"),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}

fn built_in() -> Authority {
    Authority::new(&Sources::default()).expect("the policies that are built in")
}

/// A container to be made, of whom it is harmless to say more.
fn container(tenant: &str) -> Object {
    let tenant: Tenant = tenant.parse().expect("a tenant");
    CONTAINER.plain("web", &tenant)
}

#[test]
fn every_operation_of_the_table_is_an_action_and_no_action_is_idle() {
    let authority = built_in();
    let routed: HashSet<&str> = routes::table().iter().map(|route| route.operation).collect();
    let unknown: Vec<_> = routed.iter().filter(|operation| !authority.knows(operation)).collect();
    assert!(unknown.is_empty(), "policies/cedar/casemate.cedarschema has no action {unknown:?}");
    let groups = ["greet", "read", "run", "manage", "administer"];
    // Those that a header or a query makes of another one.
    let others = ["tenant.assume", "image.import"];
    let idle = authority.actions.keys().map(String::as_str).filter(|action| !routed.contains(action));
    let idle: Vec<_> = idle.filter(|action| !groups.contains(action) && !others.contains(action)).collect();
    assert!(idle.is_empty(), "no route has the operation {idle:?}");
}

#[test]
fn every_operation_applies_to_its_subject() {
    let schema = schema().expect("the schema");
    for route in routes::table() {
        let kind = match route.subject {
            routes::Subject::Nothing | routes::Subject::Tenant => "Tenant",
            routes::Subject::Container | routes::Subject::NewContainer | routes::Subject::Exec => "Container",
            routes::Subject::Image | routes::Subject::NewImage => "Image",
            routes::Subject::Volume | routes::Subject::NewVolume => "Volume",
            routes::Subject::Network => "Network",
        };
        let kinds: Vec<String> = schema
            .actions_for_principal_and_resource(
                &"Casemate::User".parse().expect("a type"),
                &format!("Casemate::{kind}").parse().expect("a type"),
            )
            .map(|action| action.id().unescaped().to_owned())
            .collect();
        assert!(
            kinds.iter().any(|action| action == route.operation),
            "{} {}: action {} does not apply to {kind}",
            route.path,
            route.operation,
            route.operation
        );
    }
}

#[test]
fn roles_are_a_ladder_within_the_own_tenant() {
    let authority = built_in();
    let may = |groups: &[&str], operation: &str, of: &str| {
        authority.judge(&caller("acme", groups), operation, container(of)).allowed
    };
    for (operation, roles) in [
        ("container.inspect", &["viewer", "developer", "operator", "admin"][..]),
        ("container.create", &["developer", "operator", "admin"]),
        ("container.commit", &["operator", "admin"]),
    ] {
        for role in ["viewer", "developer", "operator", "admin"] {
            assert_eq!(may(&[role], operation, "acme"), roles.contains(&role), "{role} {operation}");
            assert_eq!(
                may(&[role], operation, "other"),
                role == "admin",
                "{role} {operation} of another tenant"
            );
        }
        assert!(!may(&[], operation, "acme"), "nobody in particular: {operation}");
    }
}

#[test]
fn the_host_is_the_administrators() {
    let authority = built_in();
    let judge =
        |groups: &[&str], object| authority.judge(&caller("acme", groups), "container.create", object);
    let bind = || container("acme").texts("binds", ["/etc".to_owned()]);
    let verdict = judge(&["operator"], bind());
    assert!(!verdict.allowed);
    let reason = "forbidden by roles.cedar:host-is-the-administrators \
                  (paths, devices and namespaces of the host are for the group admin)";
    assert_eq!(verdict.reason, reason);
    assert!(judge(&["admin"], bind()).allowed);
    assert!(!judge(&["developer"], container("acme").truth("privileged", true)).allowed);
    let none = judge(&["strangers"], container("acme"));
    assert_eq!(none.reason, "no policy permits it to casemate://acme/anna (groups: strangers)");
}

#[test]
fn an_operator_can_write_his_own() {
    let own = r#"
        @id("only-ours") @reason("only images of registry.acme, under hardened")
        forbid (principal in Casemate::Group::"ci", action == Casemate::Action::"container.create", resource)
        unless { resource.registries.contains("registry.acme") && resource.policy == "hardened" };
    "#;
    let authority = Authority::new(&Sources::default().with("acme.cedar", own)).expect("policies");
    let judge = |object| authority.judge(&caller("acme", &["ci", "developer"]), "container.create", object);
    let ours = || container("acme").texts("registries", ["registry.acme".to_owned()]);
    assert!(judge(ours().text("policy", "hardened")).allowed);
    assert!(!judge(ours()).allowed);
    let reason =
        judge(container("acme").text("image", "registry.acme/x:1").text("policy", "hardened")).reason;
    assert_eq!(reason, "forbidden by acme.cedar:only-ours (only images of registry.acme, under hardened)");
}

#[test]
fn what_does_not_fit_is_refused_at_the_start() {
    let fault = |text: &str| Authority::new(&Sources::default().with("x.cedar", text)).expect_err("a fault");
    assert!(fault("permit (principal, action, resource)").starts_with("x.cedar:1:"), "{}", fault("permit ("));
    for (text, words) in [
        ("permit (principal, action == Casemate::Action::\"container.fly\", resource);", "container.fly"),
        ("permit (principal, action, resource) when { resource.colour == \"red\" };", "colour"),
        ("permit (principal is Casemate::Robot, action, resource);", "Robot"),
        ("permit (principal == ?principal, action, resource);", "templates"),
    ] {
        assert!(fault(text).contains(words), "{}", fault(text));
    }
}

/// An attribute that an object lacks makes a rule fail that forbids: that must not open a door.
#[test]
fn what_cannot_be_evaluated_denies() {
    let authority = built_in();
    let tenant: Tenant = "acme".parse().expect("a tenant");
    let bare = Object::of("Container", "web", &tenant);
    let verdict = authority.judge(&caller("acme", &["operator"]), "container.create", bare);
    assert!(!verdict.allowed && verdict.reason.starts_with("it cannot be judged"), "{verdict:?}");
    assert!(!authority.judge(&caller("acme", &["admin"]), "container.fly", container("acme")).allowed);
}
