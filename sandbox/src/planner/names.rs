//! Namespaces and fixed texts of the service (Planner WSDL).
//!
//! The trailing slashes are part of the names.

/// SOAP 1.1 envelope.
pub(super) const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
/// Request and response bodies.
pub(super) const ECS: &str = "http://service.bm.dk/PlannerExternalCalendarService/2015/03/27/";
/// One-child wrapper of code lists.
pub(super) const CODE_LIST: &str = "http://service.bm.dk/pjaktass/2013/06/07/CodeListBase/";
/// `RequestUserMetadataHeader`.
pub(super) const USER_METADATA: &str = "http://service.bm.dk/RequestUserMetadata/2015/01/21/";
/// `RequestUserStructure`.
pub(super) const USER: &str = "http://service.bm.dk/pjaktass/2015/01/21/RequestUserStructure/";
/// `RequestUserTypeIdentifier`.
pub(super) const USER_TYPE: &str =
    "http://service.bm.dk/pjaktass/2015/01/21/RequestUserTypeIdentifierCodeList/";
/// `RequestOrganisationStructure`.
pub(super) const ORGANISATION: &str =
    "http://service.bm.dk/pjaktass/2015/01/21/RequestOrganisationStructure/";
/// `ActiveOrganisationHeader`.
pub(super) const ACTIVE_ORGANISATION: &str = "http://rep.oio.dk/ams.dk/xml/schemas/2005/09/01/";
/// `FaultDetails`.
pub(super) const FAULT: &str = "http://service.bm.dk/xml/schemas/2011/01/12/";
/// `xsi:nil`, `xsi:type`, `xsi:schemaLocation`.
pub(super) const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// What every SOAPAction begins with; the operation's name follows.
pub(super) const ACTION: &str = "http://service.bm.dk/pjaktass/1/PlannerExternalCalendarService#";
