-- Every row of the file whose state held at or after a moment; papers as JSON.
SELECT 'company' AS kind, id, audit, valid_from, valid_to, name, '' AS category, papers
FROM hazfence.company WHERE valid_to IS NULL OR valid_to > %(since)s
UNION ALL
SELECT 'person', id, audit, valid_from, valid_to, name, role, papers
FROM hazfence.person WHERE valid_to IS NULL OR valid_to > %(since)s
UNION ALL
SELECT 'tank', id, audit, valid_from, valid_to, name, '', papers
FROM hazfence.tank WHERE valid_to IS NULL OR valid_to > %(since)s
UNION ALL
SELECT 'vehicle', plate, audit, valid_from, valid_to, name, category, papers
FROM hazfence.vehicle WHERE valid_to IS NULL OR valid_to > %(since)s;
