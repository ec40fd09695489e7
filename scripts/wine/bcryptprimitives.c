/* What Wine 8 lacks of Windows, so that calbridge can be tried there: put beside calbridge.exe as
 * bcryptprimitives.dll. Never for Windows itself. */
#include <windows.h>
#include <wincrypt.h>
#include <string.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

/* The whole DLL: Wine 8 has none of this name. */
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) {
  return SystemFunction036(data, (ULONG)length);
}

/* CERT_CHAIN_ENGINE_CONFIG with and without dwExclusiveFlags, of which Wine 8 takes only the latter. */
enum { NEWER_SIZE = 88, OLDER_SIZE = 80, CHECK_REVOCATION_OF_END = 0x10000000 };

typedef BOOL(WINAPI *create_engine)(DWORD *config, void *engine);
static create_engine real_create_engine;

static BOOL WINAPI create_older_engine(DWORD *config, void *engine) {
  DWORD older[OLDER_SIZE / sizeof(DWORD)];
  if (*config != NEWER_SIZE) return real_create_engine(config, engine);
  memcpy(older, config, OLDER_SIZE);
  older[0] = OLDER_SIZE;
  return real_create_engine(older, engine);
}

/* A certificate that names no place to ask for revocation is good to Windows and bad to Wine 8. */
typedef BOOL(WINAPI *get_chain)(void *, void *, void *, void *, void *, DWORD, void *, void *);
static get_chain real_get_chain;

static BOOL WINAPI get_chain_without_revocation(void *engine, void *certificate, void *time, void *store,
                                                void *parameters, DWORD flags, void *reserved, void *chain) {
  flags &= ~(DWORD)CHECK_REVOCATION_OF_END;
  return real_get_chain(engine, certificate, time, store, parameters, flags, reserved, chain);
}

/* Wine 8 compares the names of hosts only; the sandbox's certificates are for localhost too. */
typedef BOOL(WINAPI *verify_policy)(void *, void *, CERT_CHAIN_POLICY_PARA *, void *);
static verify_policy real_verify_policy;

static BOOL WINAPI verify_policy_by_name(void *policy, void *chain, CERT_CHAIN_POLICY_PARA *parameters,
                                         void *status) {
  SSL_EXTRA_CERT_CHAIN_POLICY_PARA *tls = parameters->pvExtraPolicyPara;
  static WCHAR localhost[] = L"localhost";
  if (tls && tls->pwszServerName && !wcscmp(tls->pwszServerName, L"127.0.0.1")) {
    tls->pwszServerName = localhost;
  }
  return real_verify_policy(policy, chain, parameters, status);
}

/* Puts a function in the place of an imported one. */
static void *replace(BYTE *base, const char *name, void *with) {
  IMAGE_NT_HEADERS *head = (IMAGE_NT_HEADERS *)(base + ((IMAGE_DOS_HEADER *)base)->e_lfanew);
  IMAGE_DATA_DIRECTORY *imports = &head->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
  IMAGE_IMPORT_DESCRIPTOR *from = (IMAGE_IMPORT_DESCRIPTOR *)(base + imports->VirtualAddress);
  for (; from->Name; from++) {
    IMAGE_THUNK_DATA *known = (IMAGE_THUNK_DATA *)(base + from->OriginalFirstThunk);
    IMAGE_THUNK_DATA *slot = (IMAGE_THUNK_DATA *)(base + from->FirstThunk);
    for (; known->u1.AddressOfData; known++, slot++) {
      IMAGE_IMPORT_BY_NAME *import = (IMAGE_IMPORT_BY_NAME *)(base + known->u1.AddressOfData);
      void *original = (void *)slot->u1.Function;
      DWORD protection;
      if (IMAGE_SNAP_BY_ORDINAL(known->u1.Ordinal) || strcmp((char *)import->Name, name)) continue;
      if (!VirtualProtect(slot, sizeof *slot, PAGE_READWRITE, &protection)) continue;
      slot->u1.Function = (ULONGLONG)with;
      return original;
    }
  }
  return NULL;
}

BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, LPVOID reserved) {
  (void)self, (void)reserved;
  if (reason == DLL_PROCESS_ATTACH) {
    BYTE *base = (BYTE *)GetModuleHandleA(NULL);
    real_create_engine = (create_engine)replace(base, "CertCreateCertificateChainEngine", create_older_engine);
    real_get_chain = (get_chain)replace(base, "CertGetCertificateChain", get_chain_without_revocation);
    real_verify_policy = (verify_policy)replace(base, "CertVerifyCertificateChainPolicy", verify_policy_by_name);
  }
  return TRUE;
}
