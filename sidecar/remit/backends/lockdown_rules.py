"""The rules that keep an agent from dialling past the sidecar, as `nft` and `iptables-restore` read them.

What leaves is told apart by the user who owns the socket. The order is the theory of operation:

1. the sidecar's user goes wherever it likes; with `agents`, so does everyone who is none of them
2. nobody else answers at the sidecar's own ports, who takes one while the sidecar is being started again
3. replies to connections that came in, and IPv6's neighbour discovery, without which no address is reachable
4. DNS is refused, on loopback too: a resolver there carries what it is asked to anyone (only Remit needs names)
5. loopback is free
6. any other packet that has an owner is refused at once: TCP by a reset, all else by ICMP (EPERM for the sender)
7. what has no owner is the rest of a connection whose socket is closed, which only those of 1 could open
"""

from __future__ import annotations

from dataclasses import dataclass

TABLE = "remit_lockdown"
CHAIN = "REMIT_LOCKDOWN"
DRAFT = "_draft"
"""Ends the name of a copy that no packet passes: what the kernel makes of the rules, to compare with."""

HOOK = "type filter hook output priority 10; policy accept;"
LAST_UID = 2**32 - 2

_ND = ("133", "134", "135", "136", "143")  # RFC 4861, and MLDv2 (RFC 3810), which it needs on multicast switches


@dataclass(frozen=True, slots=True)
class Lockdown:
    """Who may dial out: uid of the sidecar; `agents` are the only ones refused, () means all but the sidecar.

    `ports` are TCP ports at which of those only the sidecar answers.
    """

    sidecar: int
    agents: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()


def nft_table(lockdown: Lockdown, *, draft: bool = False) -> str:
    """The table; as a draft under another name and without its hook."""
    return "\n".join(
        [
            f"table inet {TABLE}{DRAFT if draft else ''} {{",
            "chain refuse {",
            "meta l4proto tcp reject with tcp reset",
            "reject with icmpx type admin-prohibited",
            "}",
            "chain output {",
            *([] if draft else [HOOK]),
            *_nft_rules(lockdown),
            "}",
            "}",
        ]
    )


def _nft_rules(lockdown: Lockdown) -> list[str]:
    agents, ports = (", ".join(map(str, listed)) for listed in (lockdown.agents, lockdown.ports))
    return [
        f"meta skuid {lockdown.sidecar} accept",
        *([f"meta skuid != {{ {agents} }} accept"] if agents else []),
        *([f"meta skuid 0-{LAST_UID} tcp sport {{ {ports} }} drop"] if ports else []),
        "ct direction reply accept",
        f"icmpv6 type {{ {', '.join(_ND)} }} accept",
        *(
            f"meta skuid 0-{LAST_UID} meta l4proto {kind} ct original proto-dst 53 goto refuse"
            for kind in ("tcp", "udp")
        ),
        'oifname "lo" accept',
        f"meta skuid 0-{LAST_UID} goto refuse",
        *(["accept"] if agents else ["ct state established,related accept", "goto refuse"]),
    ]


def iptables_rules(lockdown: Lockdown, *, six: bool, draft: bool = False) -> list[str]:
    """The same as `-A` lines of one chain; `six` for ip6tables. RETURN, for other rules may refuse more."""
    chain = CHAIN + (DRAFT if draft else "")
    reset = "-p tcp -j REJECT --reject-with tcp-reset"
    refused = f"-j REJECT --reject-with {'icmp6-adm-prohibited' if six else 'icmp-admin-prohibited'}"
    owners = [str(uid) for uid in lockdown.agents] or [f"0-{LAST_UID}"]
    scopes = [f"-m owner --uid-owner {owner} " for owner in owners]
    dns = "-m conntrack --ctorigdstport 53"
    rules = [
        f"-m owner --uid-owner {lockdown.sidecar} -j RETURN",
        *(f"{scope}-p tcp --sport {port} -j DROP" for scope in scopes for port in lockdown.ports),
        "-m conntrack --ctdir REPLY -j RETURN",
        *([f"-p icmpv6 --icmpv6-type {kind} -j RETURN" for kind in _ND] if six else []),
        *(f"{scope}-p {kind} {dns} -j REJECT" for scope in scopes for kind in ("udp", "tcp")),
        "-o lo -j RETURN",
        *(f"{scope}{answer}" for scope in scopes for answer in (reset, refused)),
        *([] if lockdown.agents else ["-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN", reset, refused]),
    ]
    return [f"-A {chain} {rule}" for rule in rules]
