"""Words of eight letters and more that say nothing of where a text came from: common English, and the common words
of interfaces, in lower case. Written for this project from everyday texts and MCP tool definitions."""

from __future__ import annotations

from typing import Final

COMMON: Final = frozenset(
    b"""
    absolute absolutely accepted according account accounts accurate achieve achieved actually addition additional
    additionally address addresses afternoon agreement allowing although altogether american analysis announce
    announced anything anywhere apparent apparently appendix application applications appointment appreciate approach
    approaches appropriate approval approved approximately argument arguments arrangement attached attachment
    attachments attempting attention authentication author authorization automatic automatically available
    background balanced beautiful becoming beginning behavior behaviour believed benefits birthday boolean branches
    building buildings business businesses calendar callback cancelled capacity carefully category categories certain
    certainly changed changelog changes channels character characters checking children clearly collection comments
    commercial commitment committee committed communication community companies company's comparison complete
    completed completely completion complexity component components computer concerned condition conditions conference
    configuration configure confirmation confirmed connected connection consider considered consistent construction
    contains contained content contents content-type context continue continued continues contract contribution
    controller convenient conversation copyright corporate correctly correspond countries country's coverage created
    creating creation critical currency currently customer customers database datetime deadline december decided
    decision default defaults definitely definition delivered delivery department dependencies dependency described
    describes description descriptions detailed determine developed developer developers development different
    difficult digital directly director directories directory disabled discussed discussion displayed distribution
    document documentation documents download duration education effective efficient electronic eligible employee
    employees encoding endpoint engineer engineering enterprise environment equipment especially essential establish
    established estimated evaluate evaluation evening eventually everybody everyone everything everywhere evidence
    exactly examples excellent exception exchange executed execution existing expected experience explained
    explanation expression extension external facilities familiar favorite favourite features february feedback
    field fields filename filesystem filtered financial finished following follow-up forecast foreground forever
    format formatted formatting forward forwarded foundation framework frequently function functions furthermore
    generally generate generated generation government greetings guidance happened happening hardware headquarters
    hello highlights historical history hospital hotels however identified identifier identify identity immediate
    immediately implementation implemented important improve improved improvement improvements included includes
    including increase increased indicate indicates individual industry information initial initially input
    inputschema installation installed instance instances instead institute instruction instructions insurance
    integer integration interest interested interesting interface internal international internet interview
    introduction investigate investment invitation involved isn't issues iterate january javascript journal jsonrpc
    junction knowledge language languages latitude launched learning levels library likewise limited listening
    literally literature localhost location locations longitude machine machines maintain maintenance management
    manager manually manufacturer marketing material materials maximum meanwhile measures mechanism meetings
    membership mentioned message messages metadata methods midnight military minimum ministry minutes mistakes
    modified modules monitoring month's morning mountain movement multiple national naturally navigate necessary
    negative network neighborhood nevertheless next-step nothing notice notification notifications november null
    numbers objective objects obviously occasion occurred october official officials offset omitted operating
    operation operational operations opinion opportunities opportunity optional optionally options ordering ordinary
    organisation organization organizations original originally otherwise ourselves outcomes outlined output overall
    overview packages pagination paragraph parameter parameters participants particular particularly partners
    password payment payments people's percent percentage perfect performance performed perhaps permanent permission
    permissions personal personally personnel phone physical pictures pipeline placeholder planning platform please
    pleasure policies political population position positions positive possibilities possibility possible possibly
    potential potentially practical practice precisely preferences preferred preparation prepared presence present
    presentation presented president pressure prevent previous previously primary principal printing priority private
    probably problem problems procedure proceed process processed processes processing produced product production
    products professional programme programs progress projects promised properly properties property proposal
    proposed protected protection protocol provided provider provides providing published purchase purchased purpose
    quantity quarterly question questions quickly rather reached readable reading realized reason reasonable
    reasonably received receiving recently reception recipient recipients recommend recommendation recommendations
    recommended recorded records reference references regarding register registered registration regular regularly
    related relation relationship relationships relatively release released relevant reliable remaining remember
    reminder remote removed repeated replaced replacement report reported reporting repository represent
    representative represents request requested requests require required requirement requirements requires research
    reservation reservations reserved resolved resource resources response responses responsibilities responsibility
    responsible restaurant restaurants restricted resulting results returned returns reviewed reviews revision
    running samples satisfied saturday schedule scheduled scheduling schema science scientific screen searched
    searching seconds secretary sections security selected selection sender sensitive sentence separate separated
    separately september sequence serious seriously service services session settings several shareholder shipping
    shopping shortly shouldn't signature significant significantly similar similarly situation situations software
    solution solutions somebody something sometimes somewhat somewhere specific specifically specification specified
    standard standards starting statement statements statistics straight strategic strategy strength string
    structure structured structuredcontent structures students subject submitted subscription subsequent successful
    successfully suggested suggestion suggestions summaries summarize summary supplies supply support supported
    supporting supposed surprise surrounding switched symbols synchronize systems technical technologies technology
    telephone template templates temporarily temporary terminal terms themselves therefore thinking thousand
    thousands threshold throughout thursday timeout timestamp timezone together tomorrow tonight tracking
    tradition traditional training transaction transactions transfer transferred transport transportation travel
    treatment trouble tuesday tutorial typically ultimately undefined understand understanding unfortunately
    universities university unknown unlikely unless unlimited unnecessary upcoming updated updates upgrading
    upload uploaded usually utility validate validation valuable variable variables variety various vehicles version
    versions visible visiting waiting warnings watching wednesday weekend welcome whatever whenever whereas wherever
    whether without wonderful workflow working workshop workspace wouldn't writing written yesterday yourself
    yourselves application/json text/plain text/html charset=utf-8 utf-8
    """.split()
)
