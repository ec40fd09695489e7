#!/usr/bin/env python3
"""Tries calbridge's Windows sign-in on verifiers that calbridge did not write.

usage: windows_signin_check.py CALBRIDGE [pyspnego] [apache] [kerberos]

CALBRIDGE is the program. Without a choice all three are tried:

  pyspnego   a small HTTPS server whose acceptor is pyspnego (PyPI, MIT): NTLM and Negotiate with NTLM inside, with the
             channel binding required (Extended Protection)
  apache     Apache with mod_auth_gssapi and gss-ntlmssp (Debian: apache2-bin libapache2-mod-auth-gssapi gss-ntlmssp):
             NTLM and Negotiate with NTLM inside
  kerberos   the same Apache, and a KDC of MIT Kerberos (Debian: krb5-kdc krb5-admin-server): Kerberos

Behind each stands the program's own Exchange sandbox, so that `check` and `sync` have something to read. The last line
is "N passed, M failed"; the exit code is 0 only if nothing failed.
"""
import base64
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ADDRESS = "anna@kommune.example"
DOMAIN, REALM, USER, PASSWORD = "KOMMUNE", "KOMMUNE.EXAMPLE", "svc-calbridge", "Rødgrød-med-fløde 1"
# The KDC's tools take it from a terminal's encoding; it is the same account elsewhere.
KERBEROS_PASSWORD = "Roedgroed-med-floede-1"
BASIC = "Basic " + base64.b64encode(b"svc-calbridge:sandbox").decode()
CALENDAR = """BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//calbridge//windows_signin_check//EN\r
BEGIN:VEVENT\r
UID:one\r
DTSTAMP:20260101T000000Z\r
DTSTART:{day}T090000Z\r
DTEND:{day}T100000Z\r
SUMMARY:Meeting\r
END:VEVENT\r
END:VCALENDAR\r
"""

calbridge = os.path.abspath(sys.argv[1])
chosen = sys.argv[2:] or ["pyspnego", "apache", "kerberos"]
work = pathlib.Path(tempfile.mkdtemp(prefix="calbridge-signin-"))
work.chmod(0o755)
passed, failed = 0, []
children = []


def report(name, good, detail=""):
    global passed
    if good:
        passed += 1
        print(f"ok      {name}", flush=True)
    else:
        failed.append(name)
        print(f"FAILED  {name}\n{detail}", flush=True)


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options)


def start(command, **options):
    child = subprocess.Popen(command, **options)
    children.append(child)
    return child


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, what):
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"{what} does not listen")


def certificate(name, digest):
    """A server certificate, signed with this hash by an authority of its own; the names of its files."""
    authority, key, request, leaf = (work / f"{name}.{end}" for end in ("ca.pem", "key", "csr", "pem"))
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", f"-{digest}", "-days", "2", "-subj", f"/CN={name} CA",
        "-keyout", str(work / f"{name}.ca.key"), "-out", str(authority), "-addext", "basicConstraints=critical,CA:TRUE")
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(request))
    extensions = work / f"{name}.ext"
    extensions.write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    run("openssl", "x509", "-req", "-in", str(request), "-CA", str(authority), "-CAkey", str(work / f"{name}.ca.key"),
        "-CAcreateserial", f"-{digest}", "-days", "2", "-extfile", str(extensions), "-out", str(leaf))
    return authority, leaf, key


def sandbox():
    seed = work / "seed"
    seed.mkdir()
    day = time.strftime("%Y%m%d", time.gmtime(time.time() + 3 * 86400))
    (seed / f"{ADDRESS}.ics").write_bytes(CALENDAR.format(day=day).encode())
    child = start([calbridge, "sandbox", "exchange", "--json", "--seed", str(seed)], stdout=subprocess.PIPE, text=True)
    text = ""
    while not text.rstrip().endswith("}"):
        line = child.stdout.readline()
        if not line:
            sys.exit("the sandbox does not start")
        text += line
    return json.loads(text)["url"]


def configured(name, url, authority, auth, password=PASSWORD):
    """Runs check and, where that is good, sync; what they say."""
    folder = work / name.replace(" ", "-").replace(":", "")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    (folder / "secret").write_text(password, encoding="utf-8")
    (folder / "secret").chmod(0o600)
    auth = {"password": f"file:{folder / 'secret'}", **auth}
    fields = ", ".join(f"{key} = {json.dumps(value)}" for key, value in auth.items())
    config = folder / "calbridge.toml"
    config.write_text(f"""
[connections.exchange]
connector = "exchange-ews"
url = "{url}"
auth = {{ {fields} }}
http = {{ extra_ca = ["{authority}"], proxy = "none", timeout = "20s" }}

[connections.out]
connector = "ical-sink"
folder = "{folder / 'out'}"

[[sync]]
name = "trial"
source = "exchange"
sink = "out"
roster = {{ allow = ["{ADDRESS}"] }}

[state]
path = "{folder / 'state.db'}"
""", encoding="utf-8")
    check = subprocess.run([calbridge, "--config", str(config), "--log-level", "trace", "check", "--calendar", ADDRESS],
                           capture_output=True, text=True, timeout=120)
    said = check.stdout + check.stderr
    synced = None
    if check.returncode == 0:
        sync = subprocess.run([calbridge, "--config", str(config), "--log-level", "trace", "sync"],
                              capture_output=True, text=True, timeout=120)
        said += sync.stdout + sync.stderr
        files = list((folder / "out").rglob("*.ics"))
        synced = sync.returncode == 0 and any("BEGIN:VEVENT" in file.read_text() for file in files)
    return check.returncode, synced, said


def let_in(name, *arguments, **options):
    code, synced, said = configured(name, *arguments, **options)
    report(f"{name}: let in, and the calendar read", code == 0 and synced, said)
    silent(name, said, options.get("password", PASSWORD))


def refused(name, text, *arguments, **options):
    code, _, said = configured(name, *arguments, **options)
    report(f"{name}: refused, and told why", code == 1 and text in said, said)
    silent(name, said, options.get("password", PASSWORD))


def silent(name, said, password):
    """Neither the password nor a token nor a hash is said at any level."""
    owf = hashlib.new("md4", password.encode("utf-16-le")).hexdigest() if "md4" in hashlib.algorithms_available else None
    for secret in filter(None, (password, owf, "TlRMTVNT", "NTLMSSP", "YII")):
        if secret.lower() in said.lower():
            report(f"{name}: says nothing secret", False, said)


# --- pyspnego -----------------------------------------------------------------------------------------------------


class Front(http.server.BaseHTTPRequestHandler):
    """Signs each connection in with pyspnego, then hands requests on to the sandbox."""

    protocol_version = "HTTP/1.1"
    settings = None

    def setup(self):
        super().setup()
        self.context, self.signed_in = None, False
        self.settings["connections"] += 1

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        authorization = self.headers.get("Authorization")
        if authorization is None and self.signed_in:
            return self.hand_on(body)
        scheme, _, token = (authorization or "").partition(" ")
        if scheme not in self.settings["schemes"]:
            return self.ask()
        import spnego

        token = base64.b64decode(token)
        if b"NTLMSSP\x00\x03" in token:
            self.settings["proofs"] += 1
        if self.context is None:
            self.context = spnego.server(protocol=scheme.lower(), channel_bindings=self.settings["binding"],
                                         options=spnego.NegotiateOptions.none)
        try:
            answer = self.context.step(token)
        except Exception as error:  # whatever pyspnego finds wrong is a refusal
            self.settings["errors"].append(repr(error))
            self.context = None
            return self.ask()
        if not self.context.complete:
            return self.ask(f"{scheme} {base64.b64encode(answer or b'').decode()}")
        self.signed_in, self.settings["user"] = True, self.context.client_principal
        self.context = None
        return self.hand_on(body, f"{scheme} {base64.b64encode(answer).decode()}" if answer else None)

    def ask(self, challenge=None):
        self.send_response(401)
        for value in [challenge] if challenge else self.settings["schemes"]:
            self.send_header("WWW-Authenticate", value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def hand_on(self, body, final=None):
        inner = urllib.parse.urlsplit(self.settings["inner"])
        connection = http.client.HTTPConnection(inner.hostname, inner.port)
        headers = {name: value for name, value in self.headers.items()
                   if name.lower() not in ("authorization", "host", "content-length", "connection", "accept-encoding")}
        connection.request("POST", inner.path, body, {**headers, "Authorization": BASIC})
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if final:
            self.send_header("WWW-Authenticate", final)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def front(inner, schemes, leaf, key, digest, bound=True):
    """A server with this certificate; its address and what it has seen."""
    from spnego.channel_bindings import GssChannelBindings

    der = ssl.PEM_cert_to_DER_cert(leaf.read_text())
    binding = GssChannelBindings(application_data=b"tls-server-end-point:" + hashlib.new(digest, der).digest())
    settings = {"inner": inner, "schemes": schemes, "binding": binding if bound else None,
                "connections": 0, "proofs": 0, "errors": [], "user": None}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("One", (Front,), {"settings": settings}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"https://localhost:{server.server_address[1]}/EWS/Exchange.asmx", settings


def by_pyspnego(inner):
    users = work / "pyspnego-users"
    users.write_text(f"{DOMAIN}:{USER}:{PASSWORD}\n", encoding="utf-8")
    os.environ["NTLM_USER_FILE"] = str(users)
    account = {"user": f"{DOMAIN}\\{USER}"}
    for digest in ("sha256", "sha384"):
        authority, leaf, key = certificate(f"pyspnego-{digest}", digest)
        for scheme in ("NTLM", "Negotiate"):
            name = f"pyspnego {scheme} {digest}"
            auth = {"kind": scheme.lower(), **account}
            url, seen = front(inner, [scheme], leaf, key, digest)
            let_in(name, url, authority, auth)
            report(f"{name}: as the account", seen["user"] == f"{DOMAIN}\\{USER}", str(seen))
            report(f"{name}: nothing refused", not seen["errors"], str(seen))
            report(f"{name}: each connection signed in once", seen["proofs"] == seen["connections"], str(seen))
    for scheme in ("NTLM", "Negotiate"):
        name = f"pyspnego {scheme}"
        auth = {"kind": scheme.lower(), **account}
        url, seen = front(inner, [scheme], leaf, key, digest)
        refused(f"{name} no binding", "does not let the account in", url, authority, {**auth, "channel_binding": "off"})
        report(f"{name} no binding: it is the binding", "inding" in str(seen["errors"]), str(seen))
        url, seen = front(inner, [scheme], leaf, key, "md5")
        refused(f"{name} another channel", "Extended Protection", url, authority, auth)
        url, seen = front(inner, [scheme], leaf, key, digest)
        refused(f"{name} wrong password", "does not let the account in", url, authority, auth, password="wrong-canary")
        report(f"{name} wrong password: tried once", seen["proofs"] == 1, str(seen))
    url, seen = front(inner, ["Basic realm=\"x\""], leaf, key, digest)
    refused("pyspnego downgrade", "does not offer NTLM", url, authority, {"kind": "ntlm", **account})
    report("pyspnego downgrade: nothing was sent", seen["proofs"] == 0, str(seen))


# --- Apache and the KDC -------------------------------------------------------------------------------------------


def apache(inner, mechanism, environment, extra=""):
    """Apache in front of the sandbox; its address and its authority."""
    folder = work / f"apache-{mechanism}"
    folder.mkdir()
    folder.chmod(0o755)
    authority, leaf, key = certificate(f"apache-{mechanism}", "sha256")
    port = free_port()
    modules = ["mpm_event", "authn_core", "authz_core", "authz_user", "auth_gssapi", "env", "headers", "socache_shmcb",
               "ssl", "proxy", "proxy_http"]
    loaded = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules)
    who = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    target = urllib.parse.urlsplit(inner)
    config = folder / "httpd.conf"
    config.write_text(f"""
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
DefaultRuntimeDir {folder}
Mutex file:{folder}
ErrorLog {folder}/error.log
Listen 127.0.0.1:{port}
{loaded}
{who}
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
<VirtualHost *:{port}>
  SSLEngine on
  SSLCertificateFile {leaf}
  SSLCertificateKeyFile {key}
  <Location "/EWS">
    AuthType GSSAPI
    AuthName mail
    GssapiConnectionBound On
    GssapiAllowedMech {mechanism}
    {extra}
    Require valid-user
    RequestHeader set Authorization "{BASIC}"
    ProxyPass http://{target.netloc}/EWS
  </Location>
</VirtualHost>
""")
    start(["apache2", "-f", str(config), "-D", "FOREGROUND"], env={**os.environ, **environment})
    wait_for(port, "Apache")
    return f"https://localhost:{port}/EWS/Exchange.asmx", authority, folder / "error.log"


def by_apache(inner):
    users = work / "apache-users"
    users.write_text(f"{DOMAIN}:{USER}:{PASSWORD}\n", encoding="utf-8")
    users.chmod(0o644)
    url, authority, log = apache(inner, "ntlmssp", {"NTLM_USER_FILE": str(users)}, "GssapiNegotiateOnce Off")
    for kind in ("ntlm", "negotiate"):
        name = f"apache {kind}"
        auth = {"kind": kind, "user": f"{DOMAIN}\\{USER}"}
        try:
            let_in(name, url, authority, auth)
            refused(f"{name} wrong password", "does not let the account in", url, authority, auth, password="wrong-canary")
        finally:
            if failed:
                print(log.read_text()[-3000:])


def by_kerberos(inner):
    folder = work / "kdc"
    folder.mkdir()
    folder.chmod(0o755)
    port = free_port()
    (folder / "krb5.conf").write_text(f"""
[libdefaults]
  default_realm = {REALM}
  dns_lookup_kdc = false
  rdns = false
[realms]
  {REALM} = {{
    kdc = 127.0.0.1:{port}
  }}
""")
    (folder / "kdc.conf").write_text(f"""
[kdcdefaults]
  kdc_listen = 127.0.0.1:{port}
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {REALM} = {{
    database_name = {folder}/principal
    key_stash_file = {folder}/stash
    acl_file = {folder}/acl
    supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
  }}
[logging]
  kdc = FILE:{folder}/kdc.log
""")
    environment = {**os.environ, "KRB5_CONFIG": str(folder / "krb5.conf"), "KRB5_KDC_PROFILE": str(folder / "kdc.conf")}
    environment["PATH"] += ":/usr/sbin:/sbin"
    run("kdb5_util", "create", "-r", REALM, "-s", "-P", "master", env=environment)
    keytab = folder / "http.keytab"
    for query in (f"addprinc +requires_preauth -pw {KERBEROS_PASSWORD} {USER}", "addprinc -randkey HTTP/localhost",
                  f"ktadd -k {keytab} HTTP/localhost", "addprinc -randkey HTTP/elsewhere"):
        run("kadmin.local", "-r", REALM, "-q", query, env=environment)
    keytab.chmod(0o644)
    start(["krb5kdc", "-n", "-r", REALM], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(port, "the KDC")
    url, authority, log = apache(inner, "krb5", {"KRB5_CONFIG": str(folder / "krb5.conf"), "KRB5_KTNAME": str(keytab)},
                                 f"GssapiCredStore keytab:{keytab}")
    os.environ["KRB5_CONFIG"] = str(folder / "krb5.conf")
    # MIT's acceptor refuses the option by which our library announces a channel binding: two bytes where it reads four
    # (picky-krb 0.13, KERB_AP_OPTIONS_CBT). Where that is put right, this goes.
    auth = {"kind": "negotiate", "user": f"{REALM}\\{USER}", "kdc": [f"127.0.0.1:{port}"], "channel_binding": "off"}
    kdc_log = folder / "kdc.log"
    try:
        let_in("kerberos", url, authority, auth, password=KERBEROS_PASSWORD)
        let_in("kerberos second controller", url, authority, {**auth, "kdc": ["127.0.0.1:9", f"127.0.0.1:{port}"]},
               password=KERBEROS_PASSWORD)
        before = kdc_log.read_text().count("PREAUTH_FAILED")
        refused("kerberos wrong password", "the password is wrong", url, authority, auth, password="wrong-canary")
        tries = kdc_log.read_text().count("PREAUTH_FAILED") - before
        report("kerberos wrong password: tried once", tries == 1, f"{tries} times")
        refused("kerberos unknown user", "there is no such user", url, authority, {**auth, "user": f"{REALM}\\nobody"},
                password=KERBEROS_PASSWORD)
        refused("kerberos unknown service", "service principal name", url, authority, {**auth, "service": "nowhere.example"},
                password=KERBEROS_PASSWORD)
        refused("kerberos another service", "does not take the ticket", url, authority, {**auth, "service": "elsewhere"},
                password=KERBEROS_PASSWORD)
        refused("kerberos no controller", "none of the domain controllers", url, authority, {**auth, "kdc": ["127.0.0.1:9"]},
                password=KERBEROS_PASSWORD)
    finally:
        if failed:
            print(log.read_text()[-3000:])
            print(kdc_log.read_text()[-3000:])


try:
    behind = sandbox()
    if "pyspnego" in chosen:
        by_pyspnego(behind)
    if "apache" in chosen:
        by_apache(behind)
    if "kerberos" in chosen:
        by_kerberos(behind)
finally:
    for child in reversed(children):
        child.terminate()
    for child in children:
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
    shutil.rmtree(work, ignore_errors=True)
print(f"{passed} passed, {len(failed)} failed")
sys.exit(1 if failed or not passed else 0)
