#!/usr/bin/env python3
"""Calls all five operations of the Planner sandbox with zeep, a SOAP client that is not ours.

    python scripts/zeep_check.py PATH/TO/planner_for_zeep

zeep builds every request from the WSDL and reads every answer by it, over TLS with a client
certificate. Needs zeep (PyPI); `cargo build -p calbridge-sandbox --example planner_for_zeep` makes
the server. The last line is `N passed, 0 failed`; the exit code is 0 or 1.
"""

import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

import requests
import zeep
from lxml import etree
from zeep.transports import Transport

ANNA = "anna@kommune.example"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
ECS = "http://service.bm.dk/PlannerExternalCalendarService/2015/03/27/"
SERVICE = "http://service.bm.dk/pjaktass/1/PlannerExternalCalendarService"
BINDING = f"{{{SERVICE}}}PlannerExternalCalendarServiceBinding"
XSD = "http://www.w3.org/2001/XMLSchema"
ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "sandbox" / "wsdl" / "planner.wsdl"
# The WSDL as the service publishes it, where this machine has a copy beside the repository.
PUBLISHED = ROOT.parent / "shared" / "reference" / "planner-ecs.wsdl"
# What its main schema uses without importing it; strict processors refuse that.
MISSING_IMPORTS = [
    "http://microsoft.com/wsdl/types/",
    "http://rep.oio.dk/xkom.dk/xml/schemas/2005/03/15/",
    "http://service.bm.dk/RequestMetadata/2010/11/11/",
    "http://service.bm.dk/pjaktass/2013/06/07/CodeListBase/",
]


class Tally:
    """Counts checks and says which failed."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, wanted, found):
        if wanted == found:
            self.passed += 1
            print(f"ok    {name}")
        else:
            self.failed += 1
            print(f"FAIL  {name}: wanted {wanted!r}, found {found!r}")

    def error(self, name, error):
        self.failed += 1
        print(f"FAIL  {name}: {type(error).__name__}: {error}")


def session(about, certificate="certificate", key="key"):
    made = requests.Session()
    made.trust_env = False
    made.verify = about["ca"]
    made.cert = (about[certificate], about[key])
    return made


def headers(client, about, operation, jobcenter=None, user=None):
    """Both headers, made from the WSDL's own types."""
    jobcenter = jobcenter or about["jobcenter"]
    metadata = client.get_element("{http://service.bm.dk/RequestUserMetadata/2015/01/21/}RequestUserMetadataHeader")
    active = client.get_element("{http://rep.oio.dk/ams.dk/xml/schemas/2005/09/01/}ActiveOrganisationHeader")
    now = datetime.datetime.now(datetime.timezone.utc)
    return [
        metadata(
            RequestUserStructure={
                "UserFullName": f"zeep : {operation}",
                "RequestUserTypeIdentifier": {"CodeListItemIdentifier": 3},
                "UserIdentifier": user or about["user"],
            },
            RequestOrganisationStructure={
                "OrganisationTypeIdentifier": {"CodeListItemIdentifier": 8},
                "OrganisationCode": jobcenter,
            },
            RegistrationDateTime=now,
        ),
        active(OrganisationTypeIdentifier=8, OrganisationCode=jobcenter),
    ]


def event(identifier, start, end):
    return {
        "CalendarEventStartTime": datetime.datetime.fromisoformat(start),
        "CalendarEventEndTime": datetime.datetime.fromisoformat(end),
        "OriginSystemIdentifier": identifier,
        "OriginEmailAddress": ANNA,
    }


def wall(time):
    return time.replace(tzinfo=None).isoformat()


class Schemas:
    """Validates SOAP messages against the schemas inside a WSDL, by libxml2."""

    def __init__(self, wsdl, directory):
        """Writes the schemas as files of their own, for imports need places."""
        directory = pathlib.Path(tempfile.mkdtemp(dir=directory))
        schemas = list(etree.parse(wsdl).iter(f"{{{XSD}}}schema"))
        files = {schema.get("targetNamespace"): f"{at}.xsd" for at, schema in enumerate(schemas)}
        everything = etree.Element(f"{{{XSD}}}schema")
        for schema in schemas:
            for imported in schema.iter(f"{{{XSD}}}import"):
                imported.set("schemaLocation", files[imported.get("namespace")])
            namespace = schema.get("targetNamespace")
            (directory / files[namespace]).write_bytes(etree.tostring(schema))
            etree.SubElement(everything, f"{{{XSD}}}import", namespace=namespace,
                             schemaLocation=files[namespace])
        path = directory / "all.xsd"
        path.write_bytes(etree.tostring(everything))
        self.schema = etree.XMLSchema(etree.parse(str(path)))

    def faults(self, message):
        """What is wrong with the body (or fault detail) and the headers of a message."""
        envelope = etree.fromstring(message)
        parts = [part for part in envelope.iterfind(f"{{{SOAP}}}Header/*")]
        for body in envelope.iterfind(f"{{{SOAP}}}Body/*"):
            parts += list(body.iterfind("detail/*")) if body.tag == f"{{{SOAP}}}Fault" else [body]
        found = []
        for part in parts:
            if not self.schema.validate(etree.ElementTree(part)):
                found.append(f"{etree.QName(part).localname}: {self.schema.error_log.last_error.message}")
        return found


def run(tally, label, wsdl, about, directory):
    """All five operations with the types of one WSDL."""
    spoken = session(about)
    messages = []
    spoken.hooks["response"].append(
        lambda answer, *_, **__: messages.extend([answer.request.body, answer.content])
        if answer.request.method == "POST" else None)
    client = zeep.Client(wsdl, transport=Transport(session=spoken))
    service = client.create_service(BINDING, about["url"])
    with open(wsdl, "rb") if "://" not in wsdl else spoken.get(wsdl, stream=True).raw as source:
        schemas = Schemas(source, directory)

    def call(operation, *arguments, **names):
        extra = {key: names.pop(key) for key in ("jobcenter", "user") if key in names}
        soap = headers(client, about, operation, **extra)
        return service[operation](*arguments, **names, _soapheaders=soap)

    def codes(answer):
        return [receipt.EventErrorCode.CodeListItemIdentifier for receipt in answer.CalendarEventReceipt]

    def listed():
        answer = call(
            "GetEvents",
            CalendarResource=[{
                "CalendarResourceName": "",
                "RID": ANNA,
                "CalendarResourceEmailAddress": ANNA,
                "CalendarResourceDescription": "",
                "IsCaseWorker": True,
            }],
            EventStartFromDateTime=datetime.datetime.fromisoformat("2026-12-01T00:00:00+01:00"),
            EventStartToDateTime=datetime.datetime.fromisoformat("2026-12-04T00:00:00+01:00"),
        )
        return [
            (found.OriginSystemIdentifier, wall(found.CalendarEventStartTime), wall(found.CalendarEventEndTime))
            for found in answer.CalendarEvent
        ]

    def name(what):
        return f"{label}: {what}"

    answer = call("GetResources")
    people = [(found.CalendarResourceEmailAddress, found.IsCaseWorker, len(found.WorkingHours))
              for found in answer.CalendarResource]
    tally.check(name("resources"), [
        (ANNA, True, 5), ("bo@kommune.example", True, 5), ("lokale1@kommune.example", False, 0),
    ], people)
    tally.check(name("reference is a guid"), 36, len(answer.ServiceRequestLogReferenceIdentifier))
    answer = call("GetResources", EmailAddressIdentifier=[ANNA])
    tally.check(name("one resource"), [ANNA],
                [found.CalendarResourceEmailAddress for found in answer.CalendarResource])

    one = event("uid-1", "2026-12-01T09:00:00", "2026-12-01T10:30:00")
    two = event("uid-2$20261202-090000", "2026-12-02T09:00:00", "2026-12-02T10:00:00")
    own = event(about["own"], "2026-12-03T09:00:00", "2026-12-03T10:00:00")
    answer = call("CreateEvents", CalendarEvent=[one, two, own])
    tally.check(name("create, and an own appointment"), [0, 0, 13], codes(answer))
    tally.check(name("receipts in order"), ["uid-1", "uid-2$20261202-090000", about["own"]],
                [receipt.OriginSystemIdentifier for receipt in answer.CalendarEventReceipt])
    tally.check(name("no conflict"), [False, False, False],
                [receipt.ConflictNotificationSent for receipt in answer.CalendarEventReceipt])
    tally.check(name("duplicate create"), [8], codes(call("CreateEvents", CalendarEvent=[one])))
    tally.check(name("listed"), [
        ("uid-1", "2026-12-01T09:00:00", "2026-12-01T10:30:00"),
        ("uid-2$20261202-090000", "2026-12-02T09:00:00", "2026-12-02T10:00:00"),
    ], listed())
    moved = event("uid-1", "2026-12-01T13:00:00", "2026-12-01T14:00:00")
    tally.check(name("update"), [0], codes(call("UpdateEvents", CalendarEvent=[moved])))
    strange = event("uid-9", "2026-12-01T13:00:00", "2026-12-01T14:00:00")
    tally.check(name("update of unknown"), [10], codes(call("UpdateEvents", CalendarEvent=[strange])))
    conflict = event("uid-3", "2026-12-03T09:30:00", "2026-12-03T11:00:00")
    answer = call("CreateEvents", CalendarEvent=[conflict])
    tally.check(name("conflict with an own appointment"), [True],
                [receipt.ConflictNotificationSent for receipt in answer.CalendarEventReceipt])
    tally.check(name("delete"), [0, 0], codes(call("DeleteEvents", CalendarEvent=[two, conflict])))
    tally.check(name("delete of unknown"), [10], codes(call("DeleteEvents", CalendarEvent=[two])))
    tally.check(name("listed after changes"), [("uid-1", "2026-12-01T13:00:00", "2026-12-01T14:00:00")], listed())
    tally.check(name("cleared"), [0], codes(call("DeleteEvents", CalendarEvent=[moved])))
    tally.check(name("nothing left"), [], listed())

    # What zeep makes of refusals.
    def fault(**names):
        try:
            call("GetResources", **names)
        except zeep.exceptions.Fault as error:
            details = error.detail
            if details is None:
                return None
            kind = client.get_element("{http://service.bm.dk/xml/schemas/2011/01/12/}FaultDetails")
            return kind.parse(details[0], client.wsdl.types).ErrorCode
        return "no fault"

    tally.check(name("wrong authority"), 1002, fault(jobcenter="10200"))
    tally.check(name("wrong user"), 1003, fault(user="CVR:11111111-FID:1"))
    wrong = [fault for message in messages for fault in schemas.faults(message)]
    tally.check(name(f"{len(messages)} messages valid against the schemas"), [], wrong)
    spoilt = messages[1].replace(b"ServiceRequestLogReferenceIdentifier", b"SomethingElse")
    tally.check(name("an invalid message is noticed"), 1, len(schemas.faults(spoilt)))
    # zeep itself does not check facets, so the server has to.
    tally.check(name("against the schema"), None, fault(EmailAddressIdentifier=["nobody"]))

    # The front end's page is no SOAP: what zeep raises says little, so the status is looked at.
    statuses = []
    other = session(about, "unknown_certificate", "unknown_key")
    other.hooks["response"].append(lambda answer, *_, **__: statuses.append(answer.status_code))
    stranger = zeep.Client(str(COMMITTED), transport=Transport(session=other))
    stranger = stranger.create_service(BINDING, about["url"])
    try:
        stranger.GetResources(_soapheaders=headers(client, about, "GetResources"))
        tally.check(name("unknown certificate"), "refused", "served")
    except zeep.exceptions.Error:
        tally.check(name("unknown certificate"), [403], statuses)


def published_with_imports(directory):
    """A copy of the published WSDL in which the main schema imports what it uses."""
    tree = etree.parse(str(PUBLISHED))
    for schema in tree.iter(f"{{{XSD}}}schema"):
        if schema.get("targetNamespace") == ECS:
            for namespace in reversed(MISSING_IMPORTS):
                schema.insert(0, etree.Element(f"{{{XSD}}}import", namespace=namespace))
    path = pathlib.Path(directory) / "published.wsdl"
    tree.write(str(path))
    return str(path)


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    tally = Tally()
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            [sys.argv[1], directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            about = json.loads(server.stdout.readline())
            wsdls = [("served WSDL", lambda: about["wsdl"]),
                     ("committed WSDL", lambda: str(COMMITTED))]
            if PUBLISHED.exists():
                wsdls.append(("published WSDL", lambda: published_with_imports(directory)))
            else:
                print("skip  published WSDL: there is no copy beside the repository")
            for label, wsdl in wsdls:
                try:
                    run(tally, label, wsdl(), about, directory)
                except Exception as error:  # a check that cannot run has failed
                    tally.error(label, error)
        finally:
            server.stdin.close()
            try:
                code = server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                code = "killed after 10 s"
            tally.check("server ended by itself", 0, code)
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 0 if tally.failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
